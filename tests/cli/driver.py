"""Runs many commands in one process, as `atldld` would each, and says how each has ended.

``python driver.py COMMANDS.json RESULTS.json``: a list of lists of arguments. What the commands
print goes to this process's own streams.
"""

import json
import sys


def run(arguments):
    from atldld.cli import main

    sys.argv = ["atldld", *arguments]
    try:
        main()
    except SystemExit as ended:
        return ended.code or 0
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    commands, results = sys.argv[1:]
    with open(commands, encoding="utf-8") as file:
        listed = json.load(file)
    statuses = []
    for arguments in listed:
        print(f"$ {arguments[:2]}", file=sys.stderr, flush=True)
        statuses.append(run(arguments))
    with open(results, "w", encoding="utf-8") as file:
        json.dump(statuses, file)
