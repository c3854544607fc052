# SPDX-License-Identifier: MIT
"""What bench/compare has measured, as tables: rows are (question, side, round, value, unit)."""
import csv
import statistics

OUTCOMES = ("ok", "refused", "broken", "timeout")
RATES = (1000, 4000, 8000)
SIDES = {
    "rates": ["skinkd", "nginx", "node", "go"],
    "blast": ["skinkd", "gunicorn", "uwsgi", "node-cluster", "php-fpm", "go"],
    "offender": ["skinkd", "gunicorn", "uwsgi", "node-cluster", "php-fpm", "go"],
    "waiting": ["skinkd", "node", "go", "gunicorn"],
}


def read(path):
    with open(path, encoding="ascii", newline="") as file:
        return [(row["question"], row["side"], int(row["round"]), float(row["value"]), row["unit"])
                for row in csv.DictReader(file)]


def median(rows, question, name):
    values = [row[3] for row in rows if row[0] == question and row[1] == name]
    return statistics.median(values) if values else None


def milliseconds(seconds):
    return "-" if seconds is None else f"{seconds * 1000:.2f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def total(rows, question, what):
    return sum(median(rows, question, f"{what}.{outcome}") or 0 for outcome in OUTCOMES)


def stuck_client(rows, question, side):
    told = median(rows, question, f"{side}.stick.refused") or 0
    cut = median(rows, question, f"{side}.stick.broken") or 0
    late = median(rows, question, f"{side}.stick.timeout") or 0
    parts = [f"{told:.0f} told" if told else "", f"{cut:.0f} cut" if cut else "", f"{late:.0f} never" if late else ""]
    return ", ".join(part for part in parts if part) or "-"


def rates_table(rows):
    lines = [["server", "rate/s", "answered", "p50 ms", "p99 ms", "p99.9 ms", "max ms"]]
    for rate in RATES:
        for side in SIDES["rates"]:
            name = f"{side}.{rate}"
            if median(rows, "rates", f"{name}.ok") is None:
                continue
            share = median(rows, "rates", f"{name}.ok") / total(rows, "rates", name)
            lines.append([side, str(rate), f"{share:.2%}"]
                         + [milliseconds(median(rows, "rates", f"{name}.{q}")) for q in ("p50", "p99", "p999", "max")])
    return lines


def survivors_table(rows, question):
    lines = [["server", "waiting requests lost", "new requests lost", "new: p99 ms", "new: slowest ms", "stuck clients"]]
    for side in SIDES[question]:
        if median(rows, question, f"{side}.hello.ok") is None:
            continue
        lost = [f"{total(rows, question, f'{side}.{what}') - median(rows, question, f'{side}.{what}.ok'):.0f} of "
                f"{total(rows, question, f'{side}.{what}'):.0f}" for what in ("sleep", "hello")]
        lines.append([side, *lost, milliseconds(median(rows, question, f"{side}.hello.p99")),
                      milliseconds(median(rows, question, f"{side}.hello.max")), stuck_client(rows, question, side)])
    return lines


def waiting_table(rows):
    lines = [["server", "idle MB", "KB for each waiting request"]]
    for side in SIDES["waiting"]:
        if median(rows, "waiting", f"{side}.request") is not None:
            lines.append([side, f"{median(rows, 'waiting', f'{side}.idle') / 1e6:.1f}",
                          f"{median(rows, 'waiting', f'{side}.request') / 1024:.1f}"])
    return lines


def tables(rows):
    """(question, lines of cells with the head first) for each question that has results."""
    made = [("rates", rates_table(rows)), ("blast", survivors_table(rows, "blast")),
            ("offender", survivors_table(rows, "offender")), ("waiting", waiting_table(rows))]
    return [(question, lines) for question, lines in made if len(lines) > 1]


def aligned(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]


def markdown(lines):
    text = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(lines[0])] + text[1:]) + "\n"
