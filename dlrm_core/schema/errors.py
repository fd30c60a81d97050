"""The one error type meant for people: the command line prints its message in one line, without a traceback."""


class KitError(ValueError):
    """Something the user can mend: bad input, an impossible request, a run that went wrong in a known way.

    The message says what came, what was needed and what to do next. Anything else that is raised is a defect of ours
    and keeps its traceback.
    """
