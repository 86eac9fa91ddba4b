"""Markdown tables whose columns are aligned, so that they read as plain text too."""


def markdown(cells: list[list[str]]) -> str:
    """A table: the first row is the head, the first column stands left, the others right."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    rules = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    lines = [_line(line, widths) for line in cells]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[1:]]) + "\n"


def _line(cells: list[str], widths: list[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join([first, *rest]) + " |"
