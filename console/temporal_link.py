"""Links into the Temporal UI, where what runs can be watched."""

from urllib.parse import quote

from runtime.settings import Settings


def workflow_link(settings: Settings, workflow_id: str) -> str:
    """The page of a workflow; empty where no Temporal UI is known."""
    return _link(settings, "workflows", workflow_id)


def schedule_link(settings: Settings, schedule_id: str) -> str:
    """The page of a Temporal Schedule; empty where no Temporal UI is known."""
    return _link(settings, "schedules", schedule_id)


def _link(settings: Settings, kind: str, named: str) -> str:
    root = settings.temporal_ui_url.rstrip("/")
    return f"{root}/namespaces/{quote(settings.temporal_namespace, safe='')}/{kind}/{quote(named, safe='')}" if root else ""
