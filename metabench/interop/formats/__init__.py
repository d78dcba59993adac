"""Peers' formats, one file each: what a format's files mean, and how they become a table or are made from one."""
