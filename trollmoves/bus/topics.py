"""Topics that who asks tells its provider: the beginnings of the subjects it listens to."""

from __future__ import annotations

from collections.abc import Iterable

from trollmoves.messages import Message

TOPICS = "topics"
"""Key in the extension of a request."""
EVERYTHING = ""
"""The beginning of every subject."""
MOST_TOPICS = 100
LONGEST_TOPIC = 200
"""Characters."""


def topics_to_tell(heard: Iterable[str]) -> list[str]:
    """How to tell a provider that somebody listens to these: that it is everything, where they do not fit into a request, as it
    waits for nobody who tells too little. A subscription may go on behind the subject, which ends at a blank."""
    topics = sorted({(topic.split() or [EVERYTHING])[0] for topic in heard})
    return topics if _can_be_told(topics) else [EVERYTHING]


def topics_told(message: Message) -> tuple[str, ...]:
    """What who sends a request says that it listens to; everything where it does not say, or says what cannot be kept."""
    told = message.extension.get(TOPICS)
    return tuple(dict.fromkeys(told)) if isinstance(told, list) and _can_be_told(told) else (EVERYTHING,)


def _can_be_told(topics: list[str]) -> bool:
    return 0 < len(topics) <= MOST_TOPICS and all(isinstance(topic, str) and len(topic) <= LONGEST_TOPIC for topic in topics)
