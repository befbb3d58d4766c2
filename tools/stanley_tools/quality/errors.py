"""What a person can put right, each said in one sentence; the exit codes are stanley's."""
USAGE, ENVIRONMENT, INPUT_OUTPUT = 2, 3, 5


class FailedError(Exception):
    """Ends the tool with this exit code; its text says what to do."""
    code = INPUT_OUTPUT


class UsageError(FailedError):
    code = USAGE


class MissingError(FailedError):
    code = ENVIRONMENT
