"""Celery workers: tasks, and what a process needs for them."""
