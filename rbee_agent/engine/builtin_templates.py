"""Chat templates for files that bring none, by name; and which one a vocabulary means."""

from __future__ import annotations

from collections.abc import Callable

# Templates that know no system turn put its words before the first user's.
_SYSTEM_FIRST = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = messages[0]['content'] %}{% set messages = messages[1:] %}"
    "{% else %}{% set system = '' %}{% endif %}"
)

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The most common form: what files get whose vocabulary tells nothing."""

TEMPLATES = {
    "chatml": CHATML,
    "llama2": _SYSTEM_FIRST + "{{ bos_token }}{% for message in messages %}"
    "{% set text = message['content'] | trim %}"
    "{% if loop.first and system %}"
    "{% set text = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + text %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + text + ' ' + eos_token }}"
    "{% else %}{{ ('' if loop.first else bos_token) + '[INST] ' + text + ' [/INST]' }}{% endif %}"
    "{% endfor %}",
    "llama3": "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "mistral": _SYSTEM_FIRST + "{{ bos_token }}{% for message in messages %}"
    "{% set text = message['content'] | trim %}"
    "{% if loop.first and system %}{% set text = system + '\n\n' + text %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ ' ' + text + eos_token }}"
    "{% else %}{{ '[INST] ' + text + ' [/INST]' }}{% endif %}{% endfor %}",
    "gemma": _SYSTEM_FIRST + "{{ bos_token }}{% for message in messages %}"
    "{% set text = message['content'] | trim %}"
    "{% if loop.first and system %}{% set text = system + '\n\n' + text %}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + text + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    "phi3": "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "zephyr": "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    "vicuna": "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] + '\n' }}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    "command-r": "{{ bos_token }}{% for message in messages %}"
    "{% set role = {'system': 'SYSTEM', 'user': 'USER'}.get(message['role'], 'CHATBOT') %}"
    "{{ '<|START_OF_TURN_TOKEN|><|' + role + '_TOKEN|>' }}"
    "{{ message['content'] + '<|END_OF_TURN_TOKEN|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}",
    "deepseek": _SYSTEM_FIRST + "{{ bos_token + system }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<｜Assistant｜>' + message['content'] + eos_token }}"
    "{% else %}{{ '<｜User｜>' + message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}",
    "granite": "{% for message in messages %}"
    "{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' }}"
    "{{ message['content'] + '<|end_of_text|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
}
"""Jinja by name."""

_MARKS = (
    ("chatml", ("<|im_start|>",)),
    ("llama3", ("<|start_header_id|>",)),
    ("gemma", ("<start_of_turn>",)),
    ("command-r", ("<|START_OF_TURN_TOKEN|>",)),
    ("deepseek", ("<｜User｜>",)),
    ("granite", ("<|start_of_role|>",)),
    ("phi3", ("<|assistant|>", "<|end|>")),
    ("zephyr", ("<|assistant|>",)),
    ("mistral", ("[INST]",)),
)
"""Tokens by which a vocabulary tells how its model was taught to talk."""


def template_for(is_token: Callable[[str], bool]) -> str:
    """The name of the template for a file without one; ChatML where its vocabulary tells nothing.

    Args:
        is_token: whether a text is one control token of the vocabulary.
    """
    for name, marks in _MARKS:
        if all(map(is_token, marks)):
            return name
    return "chatml"
