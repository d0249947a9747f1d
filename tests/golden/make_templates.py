#!/usr/bin/env python3
"""Writes templates/golden.jsonl: conversations as transformers renders them with the unmodified chat templates of models.

    build/peers/bin/python tests/golden/make_templates.py [--templates FOLDER] [--all FILE]

FOLDER (build/peers/templates) holds the templates that are not committed beside golden.jsonl. Those of LLAMA_CPP are
taken from the source package of llama-cpp-python (PyPI, MIT) when they are not there; others, of which
templates/README.md says where they come from, have to be put there. --all renders the conversations with every template
of the folder into FILE, for a larger comparison (CARAT_GOLDEN_TEMPLATES=FILE test_template_chat).
"""
import argparse
import ast
import datetime
import glob
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile

import jinja2
import transformers.utils.chat_template_utils as chat_template_utils

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
NOW = 1721908800  # 25 July 2024, noon UTC
os.environ["TZ"] = "UTC"

# name -> (file in the package's models/templates, special tokens)
S = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
IM = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
LLAMA3 = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
LLAMA_CPP = {
    "llama-3.1": ("meta-llama-Llama-3.1-8B-Instruct", LLAMA3), "llama-3.3": ("meta-llama-Llama-3.3-70B-Instruct", LLAMA3),
    "mistral-nemo": ("mistralai-Mistral-Nemo-Instruct-2407", S), "qwen2.5": ("Qwen-Qwen2.5-7B-Instruct", IM),
    "qwen3": ("Qwen-Qwen3-0.6B", IM), "gemma-2": ("google-gemma-2-2b-it", {"bos_token": "<bos>", "eos_token": "<eos>"}),
}
# name -> entry of the package's tests/test-chat-template.cpp
LLAMA_CPP_TESTS = {"mistral-v0.2": "mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt)"}
OTHERS = {"llama-2": S, "zephyr": S, "mistral-v0.2": S, "chatml": IM}
BUILT_IN = {"llama-2": "llama2", "zephyr": "zephyr", "chatml": "chatml", "gemma-2": "gemma"}

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Weather in a city: \"now\" & <later> — überall",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "it's a name"},
                                                    "days": {"type": "integer", "minimum": 1, "maximum": 2.5},
                                                    "unit": {"type": "string", "enum": ["°C", "°F", None]}},
                   "required": ["city"], "additionalProperties": False}}}
TIME = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def calls(*named, ids=True, content=""):
    return assistant(content, tool_calls=[{**({"id": f"call{i:05d}"} if ids else {}), "type": "function",
                                           "function": {"name": name, "arguments": arguments}}
                                          for i, (name, arguments) in enumerate(named)])


def result(content, i=0, name="get_weather"):
    return {"role": "tool", "content": content, "tool_call_id": f"call{i:05d}", "name": name}


AWKWARD = "  Grüße 世界 🌍 \"quoted\" it's <|im_end|> </s> [/INST] {{ n }} {% x %}\ttab\r\nline\n\n "
CONVERSATIONS = {
    "question": {"messages": [user("Hi")]},
    "system": {"messages": [system("Be brief."), user("Hi there"), assistant("Hello!"), user("  What is 2+2?  ")]},
    "answered": {"messages": [user("a"), assistant("b"), user("c"), assistant("d")]},
    "awkward": {"messages": [system(AWKWARD), user(AWKWARD), assistant(AWKWARD), user(AWKWARD)]},
    "empty": {"messages": [system(""), user(""), assistant(""), user(" ")]},
    "only system": {"messages": [system("x")]},
    "not alternating": {"messages": [user("a"), user("b")]},
    "assistant first": {"messages": [assistant("a"), user("b")]},
    "system late": {"messages": [user("a"), system("b"), user("c")]},
    "unknown role": {"messages": [user("a"), {"role": "critic", "content": "b"}]},
    "no messages": {"messages": []},
    "tools": {"messages": [system("Use tools."), user("Weather in Köln?")], "tools": [WEATHER, TIME]},
    "tools without system": {"messages": [user("Weather?")], "tools": [WEATHER]},
    "no tools": {"messages": [user("Weather?")], "tools": []},
    "called": {"messages": [user("Weather?"), calls(("get_weather", {"city": "Köln", "days": 2, "deep": {"a": [1, 2.5, None, True]}})),
                            result("{\"t\": 7.5}"), assistant("7.5 °C"), user("Thanks")], "tools": [WEATHER, TIME]},
    "called at the end": {"messages": [system("s"), user("Weather?"), calls(("get_weather", {"city": "\"<&>'"})),
                                       result("rain\nand 'wind'")], "tools": [WEATHER]},
    "two calls": {"messages": [user("?"), calls(("get_weather", {"city": "A"}), ("now", {})), result("1"),
                               result("2", 1, "now"), assistant("done")], "tools": [WEATHER, TIME]},
    "call without id": {"messages": [user("?"), calls(("now", {}), ids=False), result("x")], "tools": [TIME]},
    "call as text": {"messages": [user("?"), calls(("now", "{\"a\": 1}"), content="I call."), result("x")], "tools": [TIME]},
    "call without tools": {"messages": [user("?"), calls(("now", {"z": 1})), result({"a": 1})]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]},
    "none": {"messages": [user("?"), assistant(None)]},
    "thinking": {"messages": [user("?"), assistant("<think>\nhm\n</think>\n\n4"), user("and?"), assistant("<think>\nx\n</think>\n\n5")]},
    "reasoned": {"messages": [user("?"), assistant("4", reasoning_content="two and two"), user("and?"), assistant("5", thinking="well")]},
    "no thoughts": {"messages": [user("?")], "variables": {"enable_thinking": False}},
    "date": {"messages": [user("?")], "variables": {"date_string": "1 Jan 2025", "tools_in_user_message": False}, "tools": [TIME]},
    "built-in tools": {"messages": [user("?")], "variables": {"builtin_tools": ["brave_search", "code_interpreter"]}},
    "continued": {"messages": [user("Count"), assistant("1, 2, ")], "continue_final_message": True},
    "continued parts": {"messages": [user("Count"), {"role": "assistant", "content": [{"type": "text", "text": "1, 2"}]}],
                        "continue_final_message": True},
    "long": {"messages": [m for i in range(20) for m in (user(f"question {i}"), assistant(f"answer {i}"))]},
}


class Now(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(NOW, tz)


def expected(text, tokens, request, prompt):
    kwargs = {**tokens, **request.get("variables", {})}
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[request["messages"]], tools=request.get("tools"), chat_template=text,
            add_generation_prompt=prompt, continue_final_message=request.get("continue_final_message", False), **kwargs)
        return {"output": rendered[0]}
    except jinja2.exceptions.UndefinedError:
        return {"error": ""}
    except jinja2.exceptions.TemplateError as error:  # raise_exception
        return {"error": error.message or ""}
    except Exception:  # what Python says of types and the like is not compared
        return {"error": ""}


def fetch(folder, wanted):
    with tempfile.TemporaryDirectory() as work:
        subprocess.check_call([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
                               "llama-cpp-python", "--dest", work, "llama-cpp-python"])
        with tarfile.open(glob.glob(os.path.join(work, "*.tar.gz"))[0]) as package:
            for member in package:
                name = os.path.basename(member.name)
                if member.name.endswith(".jinja") and "/models/templates/" in member.name:
                    texts = {wanted.get(name[:-6], name[:-6]): package.extractfile(member).read()}
                elif member.name.endswith("/tests/test-chat-template.cpp"):
                    texts = from_tests(package.extractfile(member).read().decode())
                else:
                    continue
                for label, text in texts.items():
                    with open(os.path.join(folder, label + ".jinja"), "wb") as file:
                        file.write(text)


def from_tests(source):
    texts = {}
    for name, literal in re.findall(r'/\* \.name= \*/ "([^\n]*)",\n\s*/\* \.template_str= \*/ ("[^\n]*"),\n', source):
        for label, entry in LLAMA_CPP_TESTS.items():
            if entry == name:
                texts[label] = ast.literal_eval(literal).encode()
    return texts


def find(folder, name):
    for place in (HERE, folder):
        path = os.path.join(place, name + ".jinja")
        if os.path.exists(path):
            with open(path, encoding="utf-8", newline="") as file:
                return file.read()
    return None


def records(name, text, tokens):
    for title, request in CONVERSATIONS.items():
        for prompt in (False, True):
            if prompt and request.get("continue_final_message"):
                continue
            record = {"template": name, "conversation": title, "add_generation_prompt": prompt}
            plain = not any(key in request for key in ("tools", "variables", "continue_final_message"))
            plain = plain and request["messages"] and all(
                isinstance(m["content"], str) and set(m) == {"role", "content"} and m["role"] != "critic" for m in request["messages"])
            if name in BUILT_IN and plain and title not in ("only system", "system late"):
                record["built_in"] = BUILT_IN[name]
            yield {**record, **expected(text, tokens, request, prompt)}


def write(path, found):
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        head = {"now": NOW, "tokens": {name: tokens for name, (_, tokens) in found.items()}, "conversations": CONVERSATIONS}
        file.write(json.dumps(head, ensure_ascii=False) + "\n")
        for name, (text, tokens) in found.items():
            for record in records(name, text, tokens):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
                count += 1
    print(f"{path}: {count} renderings with {len(found)} templates")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    arguments.add_argument("--templates", default=os.path.join(root, "build", "peers", "templates"))
    arguments.add_argument("--all")
    options = arguments.parse_args()
    chat_template_utils.datetime = Now
    os.makedirs(options.templates, exist_ok=True)
    names = {**{name: entry[1] for name, entry in LLAMA_CPP.items()}, **OTHERS}
    if any(find(options.templates, name) is None for name in LLAMA_CPP):
        fetch(options.templates, {entry[0]: name for name, entry in LLAMA_CPP.items()})
    missing = [name for name in names if find(options.templates, name) is None]
    if missing:
        sys.exit(f"{options.templates}: no template of {', '.join(missing)} (see {HERE}/README.md)")
    write(os.path.join(HERE, "golden.jsonl"), {name: (find(options.templates, name), names[name]) for name in sorted(names)})
    if options.all:
        files = sorted(glob.glob(os.path.join(options.templates, "*.jinja")))
        write(options.all, {os.path.basename(f)[:-6]: (find(options.templates, os.path.basename(f)[:-6]), S) for f in files})


main()
