"""Named sessions: overlays whose upper layer lives in the store, survives its process, and keeps its base."""

from jvs.workspace.sessions.actions import drop_session, push_session, session_status
from jvs.workspace.sessions.control import Control
from jvs.workspace.sessions.info import SessionInfo, SessionStatus, list_sessions, session_info
from jvs.workspace.sessions.session import Session, create_session, resume_session

__all__ = [
    "Control",
    "Session",
    "SessionInfo",
    "SessionStatus",
    "create_session",
    "drop_session",
    "list_sessions",
    "push_session",
    "resume_session",
    "session_info",
    "session_status",
]
