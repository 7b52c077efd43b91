"""Campaigns that look for silent faults: kills, changed files, full disks, odd input, lost processes."""
