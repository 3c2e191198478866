"""From the measurements of some rounds to a table: medians, ranges, ratios, and whether the target is reached."""

from statistics import median


def summary(row, rounds, peak):
    """`rounds` are pairs of our answer and the peer's. The peer's best setting is that of the smallest median."""
    key = "bytes" if row.kind == "memory" else "times"
    ours = [answer[key][""] for answer, _ in rounds]
    common = set.intersection(*[set(answer[key]) for _, answer in rounds])
    by_setting = {name: [answer[key][name] for _, answer in rounds] for name in sorted(common)}
    best = min(by_setting, key=lambda name: median(by_setting[name]))
    theirs = by_setting[best]
    ratios = [b / a for a, b in zip(ours, theirs)]
    return {
        "name": row.name,
        "work": row.work,
        "unit": {"memory": "MB", "views": "views/s", "job": "s"}.get(row.kind, "ms"),
        "ours": ours,
        "theirs": theirs,
        "setting": best,
        "about": rounds[0][1].get("about", ""),
        "settings": by_setting,
        "ratios": ratios,
        "target": row.target,
        "goal": row.goal,
        "reached": min(ratios) >= row.target,
        "notes": notes(row, rounds, ours, peak),
    }


def notes(row, rounds, ours, peak):
    """What belongs to a row beside its ratio."""
    said = []
    if row.flops_share:
        share = rounds[0][0]["flops"] / median(ours) / peak["flops"]
        said.append(f"{share:.0%} of the GEMM peak, {row.flops_share:.0%} asked for")
    if row.bytes_share:
        share = row.bytes / median(ours) / peak["bytes"]
        said.append(f"{share:.0%} of the memory bandwidth, {row.bytes_share:.0%} asked for")
    if "values" in rounds[0][0]:
        for name in rounds[0][0]["values"]:
            a, b = ([answer["values"][name] for answer in side if answer["values"][name]] for side in zip(*rounds))
            if a and b:
                said.append(f"{name} {median(a):.3f} against {median(b):.3f}")
    if "waited" in rounds[0][0]:
        said.append(f"{median(ours_['waited'] for ours_, _ in rounds) / median(ours):.0%} of ours waits for data")
    if "predicted" in rounds[0][0]:
        said.append(f"predicted {median(ours_['predicted'] for ours_, _ in rounds):.2f} of measured")
    if "first" in rounds[0][0]:
        first = median(ours_["first"] for ours_, _ in rounds)
        if first > 5 * median(ours) and first > 0.5:
            said.append(f"our first step took {first:.1f} s")
    return said


def table(summaries):
    lines = [
        "| work | ours | PyTorch | its setting | ratio | target | reached |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in summaries:
        ratios = one["ratios"]
        goal = f" (goal {one['goal']:g}x)" if one["goal"] else ""
        cells = [
            one["work"],
            spread(one["ours"], one["unit"]),
            spread(one["theirs"], one["unit"]),
            f"{one['setting']}; {one['about']}",
            f"**{median(ratios):.2f}x** [{min(ratios):.2f}..{max(ratios):.2f}]",
            f"{one['target']:.3g}x{goal}",
            "yes" if one["reached"] else "no",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    said = [f"- {one['name']}: {'; '.join(one['notes'])}" for one in summaries if one["notes"]]
    return "\n".join(lines + [""] + said)


def spread(values, unit):
    scaled = {
        "ms": lambda x: x * 1e3,
        "s": lambda x: x,
        "MB": lambda x: x / 1e6,
        "views/s": lambda x: 1 / x,
    }[unit]
    numbers = [scaled(value) for value in values]
    return f"{short(median(numbers))} {unit} [{short(min(numbers))}..{short(max(numbers))}]"


def short(number):
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
