"""The table of the Performance page, from the runs that `make bench` stored."""

from pathlib import Path

from project import read_json


def page(runs: list[dict]) -> str:
    """Return Markdown: for each device a table with all runs, and the machine that it was measured on."""
    devices = sorted({row["device"] for run in runs for row in run["table"]})
    parts = [table(runs, device) + "\n" + machine(runs, device) for device in devices]
    if devices == ["cpu"]:
        parts.append("No GPU was at hand; on one, the same command measures the same table there too.\n")
    return "\n".join(parts)


def load(folder: Path) -> list[dict]:
    return [read_json(path) for path in sorted(folder.glob("run-*.json"))]


def table(runs: list[dict], device: str) -> str:
    found = {}
    for run in runs:
        for row in run["table"]:
            if row["device"] == device:
                found.setdefault(row["id"], []).append(row)
    head = ["work, and against what", "wanted", "measured, run by run", "time", "peak MB"]
    lines = [head, ["---"] * len(head), *map(cells, found.values())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(rows: list[dict]) -> list[str]:
    first = rows[0]
    sign = "≤" if first["quantity"] in ("time ratio", "seconds") else "≥"
    values = [text(row["quantity"], row["value"]["median"]) + ("" if row["holds"] else " ✗") for row in rows]
    seconds = [duration(seconds) for seconds in first["seconds"].values()]
    memory = ["?" if size is None else f"{size / 1e6:.0f}" for size in first["peak"].values()]
    return [
        first["work"] + (f"; {first['peer']}".replace("torch.nn.init.", "") if first["peer"] else ""),
        f"{sign} {text(first['quantity'], first['target'])}",
        ", ".join(values),
        " / ".join(seconds),
        " / ".join(memory),
    ]


def text(quantity: str, value: float) -> str:
    match quantity:
        case "share":
            return f"{value:.0%}"
        case "seconds":
            return f"{value:.3g} s"
        case _:
            return f"{value:,.0f}×" if value >= 100 else f"{value:.1f}×" if value >= 2 else f"{value:.2f}×"


def duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def machine(runs: list[dict], device: str) -> str:
    """Say which machine, or which machines, a device's rows were measured on, and how fast they were themselves."""
    groups = {}
    for number, run in enumerate(runs, 1):
        if about := run["machines"].get(device):
            cpu = f"{about['processor']}, {about['cores']} cores, {about['threads']} threads"
            text = f"{about.get('gpu', cpu)}, {about['system']}, torch {about['torch']}"
            groups.setdefault(text, []).append((number, about))
    return "\n".join(measured(text, group, len(groups) > 1) for text, group in groups.items())


def measured(text: str, group: list[tuple[int, dict]], several: bool) -> str:
    rates = {
        name: "–".join(f"{value / 1e9:.0f}" for value in sorted({min(values), max(values)}))
        for name in ("float32 products", "float64 products", "copy")
        for values in [[about[name] for _, about in group]]
    }
    head = (
        f"Run{'s' * (len(group) > 1)} {', '.join(str(number) for number, _ in group)} measured on"
        if several
        else "Measured on"
    )
    return (
        f"{head}: {text}. Products of 2048 × 2048 matrices ran at "
        f"{rates['float32 products']} billion operations a second in single and {rates['float64 products']} in double "
        f"precision; copying moved {rates['copy']} GB a second.\n"
    )
