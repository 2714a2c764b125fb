"""Middleware that logs calls and replies into a SQLite file, and the command ``pollux-sync log`` that shows them."""

from pollux_log.decoding import decode_record
from pollux_log.recording import Log
from pollux_log.records import FIELDS, LogFile, Record

__all__ = ["FIELDS", "Log", "LogFile", "Record", "decode_record"]
