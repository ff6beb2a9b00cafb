"""Subscriber insight for telecom operators: network records in, a published run out."""
