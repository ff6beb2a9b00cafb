"""The dashboard: pages over the published run, with the report's charts, tables and words.

Every page is made on the server and works without script; its address is its state.
"""
