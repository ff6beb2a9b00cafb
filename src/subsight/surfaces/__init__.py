"""What people and programs see of a published run: command line, report, exports."""
