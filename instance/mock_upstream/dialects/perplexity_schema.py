"""What Perplexity's API takes: no tools, but how to search."""

from __future__ import annotations

from instance.mock_upstream.dialects.like_schemas import chat_of
from instance.mock_upstream.shapes import (
    ANYTHING,
    BOOLEAN,
    INTEGER,
    OBJECT,
    STRING,
    STRINGS,
    Schema,
    enum,
    listed,
    mapping,
    nullable,
    record,
    tagged,
    text_or,
    text_or_list,
)

_PERPLEXITY_PARTS = tagged(
    "type",
    {
        "text": record({"text": STRING}),
        "image_url": record({"image_url": text_or(record({"url": STRING}, {"detail": STRING}))}),
        "file_url": record({"file_url": text_or(record({"url": STRING}))}, {"file_name": STRING}),
        "video_url": record({"video_url": ANYTHING}),
        "pdf_url": record({"pdf_url": ANYTHING}),
    },
)

_PERPLEXITY_CONTENT = record({"content": nullable(text_or_list(_PERPLEXITY_PARTS))})

_DATE: Schema = {"type": "string", "pattern": "^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}$"}

PERPLEXITY = chat_of(
    "max_tokens stream temperature top_p frequency_penalty presence_penalty",
    {
        "country": STRING,
        "disable_search": BOOLEAN,
        "enable_search_classifier": BOOLEAN,
        "image_domain_filter": listed(STRING, at_most=10),
        "image_format_filter": STRINGS,
        "language_preference": STRING,
        "last_updated_after_filter": _DATE,
        "last_updated_before_filter": _DATE,
        "num_search_results": INTEGER,
        "reasoning_effort": enum("minimal", "low", "medium", "high"),
        "response_format": tagged(
            "type",
            {
                "text": record({}),
                "json_schema": record(
                    {
                        "json_schema": record(
                            {"schema": OBJECT},
                            {"name": STRING, "description": STRING, "strict": nullable(BOOLEAN)},
                        )
                    }
                ),
                "regex": record({"regex": record({"regex": STRING}, {"name": STRING})}),
            },
        ),
        "return_images": BOOLEAN,
        "return_related_questions": BOOLEAN,
        "safe_search": BOOLEAN,
        "search_after_date_filter": _DATE,
        "search_before_date_filter": _DATE,
        "search_domain_filter": listed(STRING, at_most=20),
        "search_language_filter": STRINGS,
        "search_mode": enum("web", "academic", "sec"),
        "search_recency_filter": enum("hour", "day", "week", "month", "year"),
        "stream_mode": enum("full", "concise"),
        "top_k": {**INTEGER, "minimum": 0},
        "web_search_options": record(
            {},
            {
                "search_context_size": enum("low", "medium", "high"),
                "search_type": enum("fast", "pro", "auto"),
                "user_location": mapping(ANYTHING),
                "image_results_enhanced_relevance": BOOLEAN,
                "image_search_relevance_enhanced": BOOLEAN,
            },
        ),
    },
    {"system": _PERPLEXITY_CONTENT, "user": _PERPLEXITY_CONTENT, "assistant": _PERPLEXITY_CONTENT},
)
