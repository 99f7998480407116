"""Run by each kernel that executes the book: notes which cell runs, so that a kernel's death has a place."""


def _note_running_cells() -> None:
    import os

    from IPython import get_ipython

    shell, path = get_ipython(), os.environ["MMBOOK_RUNNING_CELL"]

    def note(info: object) -> None:
        with open(path, "w") as file:
            file.write(str(shell.execution_count - 1))  # already counted on by now

    shell.events.register("pre_run_cell", note)


_note_running_cells()
del _note_running_cells
