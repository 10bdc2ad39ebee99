"""Alerts: rules over what calls show, evaluated by time, and the notices when one begins or ceases to hold."""
