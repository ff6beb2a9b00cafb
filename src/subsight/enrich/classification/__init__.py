"""What a flow is: its service and category, how that is known, and how surely."""
