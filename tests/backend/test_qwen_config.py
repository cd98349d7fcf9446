"""Key, region and base of the Qwen adapter must agree before it is used."""

from typing import Any

import pytest

from backend.providers.qwen.adapter import QwenConfig
from backend.settings.providers import ProviderSettings
from backend.settings.sections import read_section

GOOD: dict[str, Any] = {"api_key": "sk-abc", "region": "singapore"}
CONFIGURATIONS = [
    ({}, ""),
    ({"workspace_id": "ws-1"}, ""),
    ({"base_url": "https://dashscope-intl.aliyuncs.com/api/v1"}, ""),
    ({"base_url": "https://ws-1.ap-southeast-1.maas.aliyuncs.com", "workspace_id": "ws-1"}, ""),
    ({"base_url": "http://127.0.0.1:9/qwen/singapore"}, ""),
    ({"api_key": ""}, "QWEN_API_KEY is missing"),
    ({"api_key": "abc"}, "keys start with sk-"),
    ({"region": ""}, "QWEN_REGION is missing"),
    ({"region": "frankfurt"}, "QWEN_REGION 'frankfurt' is unknown"),
    ({"base_url": "https://dashscope.aliyuncs.com"}, "is in Beijing, QWEN_REGION says Singapore"),
    ({"base_url": "https://ws-1.cn-beijing.maas.aliyuncs.com"}, "is in Beijing"),
    ({"base_url": "https://dashscope-us.aliyuncs.com"}, "in no region that clones"),
    ({"base_url": "http://127.0.0.1:9/qwen/beijing"}, "is in Beijing"),
    ({"base_url": "http://dashscope-intl.aliyuncs.com"}, "must be https"),
    ({"base_url": "dashscope-intl.aliyuncs.com"}, "not a plain http(s) URL"),
    ({"base_url": "https://[oops"}, "not a plain http(s) URL"),
    ({"base_url": "https://a.ap-southeast-1.maas.aliyuncs.com", "workspace_id": "b"}, "another workspace"),
    ({"target_model": "qwen3-tts-vc-realtime-2026-01-15"}, "does not speak over HTTP"),
]


@pytest.mark.parametrize(
    ("project", "base", "way"),
    [
        ("https://abc.supabase.co", "", "signed_url"),
        ("http://127.0.0.1:54321", "", "data_url"),
        ("http://[::1]:54321", "", "data_url"),
        ("http://192.168.1.20:8000", "", "data_url"),
        ("http://localhost:54321", "", "data_url"),
        ("http://kong:8000", "", "data_url"),
        ("http://supabase.internal", "", "data_url"),
        ("http://127.0.0.1:54321", "http://127.0.0.1:9/qwen/singapore", "signed_url"),
        ("http://127.0.0.1:54321", "https://gateway.example.org/singapore", "data_url"),
    ],
)
def test_a_sample_goes_inside_of_the_call_where_storage_is_out_of_reach(
    project: str, base: str, way: str
) -> None:
    environ = {
        "SUPABASE_URL": project,
        "QWEN_API_KEY": "sk-1",
        "QWEN_REGION": "singapore",
        "QWEN_BASE_URL": base,
    }
    settings = read_section(ProviderSettings, environ, [])
    assert settings is not None
    assert settings.qwen is not None
    assert settings.qwen.send_sample_as == way


@pytest.mark.parametrize(("changes", "problem"), CONFIGURATIONS)
def test_key_region_and_base_are_checked_against_each_other(changes: dict[str, str], problem: str) -> None:
    problems = QwenConfig(**{**GOOD, **changes}).problems()
    assert bool(problems) == bool(problem)
    assert problem in " ".join(problems)
