"""Offers the whole job as functions: what the command line and Python users call.

Comes in: arguments as users give them. Goes out: finished runs, tables, files. It never imports the command line.
"""
