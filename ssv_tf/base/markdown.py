"""Reads the model cards that come with presets."""

import re


def section(card: str, title: str) -> str:
    """The text below the heading `title` of a card; empty where there is none."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", card, re.DOTALL | re.MULTILINE)
    return match.group(1).strip() if match else ""
