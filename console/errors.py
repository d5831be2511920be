"""What keeps a page from being shown."""


class PageError(Exception):
    """An error page of this status; `message` is already in the person's language, or empty for the usual words."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message or str(status))
        self.status = status
        self.message = message


class SignInNeeded(Exception):
    """Nobody is signed in: the sign-in page comes first, and then `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class PasswordNeeded(Exception):
    """The person has signed in with the password of its invitation: first comes one of its own."""
