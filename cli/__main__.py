"""`python -m cli`: what `./laurel` hands over to."""

from cli.main import run

run()
