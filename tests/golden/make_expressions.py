#!/usr/bin/env python3
"""Writes templates/expressions.jsonl: small templates, their variables, and what Jinja2 makes of them in the sandbox
that transformers sets up (or that it fails, and the message of a raise_exception).

    build/peers/bin/python tests/golden/make_expressions.py

tests/template/test_language.c renders the same and compares byte by byte.
"""
import json
import os

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

V = {
    "n": 7, "m": -3, "x": 2.5, "big": 12345678901, "t": True, "f": False, "none": None, "s": "Hello World",
    "u": "Grüße, 世界 🌍", "empty": "", "blank": "  \t padded text \n ", "list": [3, 1, 2], "words": ["pear", "Apple", "fig"],
    "nested": [[1, 2], ["a", None], []], "d": {"b": 1, "a": {"c": [1, 2.0, "x"]}, "items": "shadowed"},
    "users": [{"name": "Bo", "age": 30, "on": True}, {"name": "al", "age": 25, "on": False}, {"name": "Cy", "age": 30}],
    "quotes": "it's \"quoted\" <b>&amp;</b>", "lines": "one\ntwo\n\nthree", "messages": [{"role": "user", "content": "hi"}],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 | n + m | n - m | n * m | n / 2 | n // 2 | m // 2 | n % 3 | m % 5 | 2 ** 10 | 2 ** -1 | -2 ** 2 | 7.5 // 2
-7.5 // 2 | 7.5 % 2 | -7.5 % 2 | 1 / 3 | 10 / 2 | 1e3 | 1.5e-7 | 1e16 | 123456789.125 | 1e15 + 0.5 | 0.1 + 0.2 | 1e100 | 5e-324
100000.0 * 10 | 3.0 | -0.0 | x | big * 3 | t + 1 | t | f | none | 'a' 'b' "c" | 'a' ~ 1 ~ none ~ true ~ 2.0 | "tab\tnl\n\x41\u00e9\\"
'it\'s' | "\q" | '\101' | s[0] | s[-1] | s[1:4] | s[::-1] | s[::2] | s[-3:] | s[:-3] | s[10:2] | s[100:] | u[0] | u[-1] | u[7:9] | u[::-1]
u|length | s|length | list[0] | list[-1] | list[1:] | list[::-1] | list[5] | list[5] is defined | list['0'] | d.b | d['b'] | d.a.c | d['a']['c'][2]
d.missing | d.missing is defined | d['missing'] | d.items is string | d['items'] | d.a | d | list | words | nested | [] | {} | () | (1,) | (1, 2)
[1, 2.0, 'x', none, true] | {'a': 1, 2: 'b', none: [1]} | {'k': 'it\'s'} | ["it's", '"', "\n", "é", "\x00", "\x7f", "\u200b"] | quotes | [quotes]
1 == 1.0 | 1 == true | '1' == 1 | [1, 2] == [1, 2] | (1, 2) == [1, 2] | {'a': 1} == {'a': 1.0} | none == none | missing == missing
1 < 2 < 3 | 1 < 3 < 2 | 3 > 2 >= 2 != 1 | 'a' < 'b' | 'Z' < 'a' | [1, 2] < [1, 3] | 'é' > 'z' | 1 != 2 | not 1 == 2
'ell' in s | 'xyz' not in s | 3 in list | 'b' in d | 'zz' in d | 1 in missing | '' in '' | none in [none] | 2 in (1, 2) | not 'a' in 'abc'
1 and 0 | 1 and 'x' | 0 or 'y' | '' or none | not '' | not [] | not (1 and 2) | true and not false | n > 5 and n < 10 | 'a' or missing.x
'yes' if n > 5 else 'no' | 'yes' if n > 50 else 'no' | 'only' if false | ('only' if false) is defined | (1 if true else 2) + 1 | 1 if 0 else 2 if 0 else 3
n is odd | n is even | n is divisibleby 7 | n is divisibleby(2) | n is number | x is float | n is integer | t is integer | t is boolean | t is true | f is false
s is string | list is iterable | s is iterable | n is iterable | d is mapping | list is mapping | list is sequence | d is sequence | n is sequence
missing is defined | missing is undefined | n is defined | none is none | n is not none | n is none | missing is none | n is eq 7 | n is ne 7 | n is gt 3
n is lt 3 | n is ge 7 | n is le 7 | n is greaterthan 3 | n is equalto 7 | n is sameas 7 | none is sameas none | 1 is sameas true | n is in [7, 8] | n is not in [7, 8]
'ABC' is upper | 'abc' is lower | 'aBc' is lower | '123' is upper | range is callable | n is callable | 'upper' is filter | 'nope' is filter | 'odd' is test
s is string and n is number | n is not string or false | (n is odd) == true | missing is not defined and 1
s|upper | s|lower | u|upper | u|lower | 'ab-cd (ef'|title | "they're bill's"|title | s|capitalize | 'éa'|capitalize | 'straße'|upper | blank|trim | blank|trim|length
'xxaxx'|trim('x') | s|replace('o', '0') | s|replace('o', '0', 1) | 'aaa'|replace('a', 'b', 2) | 'abc'|replace('', '-') | 5|replace('5', 'five') | s|reverse | list|reverse|list
list|first | list|last | []|first is defined | s|first | u|last | list|length | d|length | none|string | 5|string ~ 'x' | list|join | list|join(', ') | words|join('-')
users|join(', ', attribute='name') | users|map(attribute='name')|list | users|map(attribute='zip', default='?')|list | words|map('upper')|list | words|map('replace', 'p', 'P')|join
users|selectattr('on')|map(attribute='name')|list | users|selectattr('age', 'equalto', 30)|map(attribute='name')|list | users|rejectattr('on')|map(attribute='name')|list
users|selectattr('on', 'defined')|list|length | users|rejectattr('age', 'gt', 26)|list | [1, 2, 3, 4]|select('odd')|list | [1, 2, 3, 4]|reject('odd')|list
[0, 1, '', 'a', none]|select|list | [1, 2, 3]|select('divisibleby', 3)|list | list|sort | list|sort(reverse=true) | words|sort | words|sort(case_sensitive=true)
users|sort(attribute='age')|map(attribute='name')|list | users|sort(attribute='age,name')|map(attribute='name')|list | ['a', 'B', 'A', 'b', 'a']|unique|list | [1, 1.0, true, 2]|unique|list
['a', 'A']|unique(case_sensitive=true)|list | list|min | list|max | words|min | words|max | []|min is defined | users|max(attribute='age') | list|sum | users|sum(attribute='age')
[1, 2]|sum(start=10) | [[1], [2]]|sum(start=[]) | missing|default('dflt') | ''|default('dflt') | ''|default('dflt', true) | none|default('dflt') | none|d('x', boolean=true) | missing|d
'42'|int | '42.7'|int | 'abc'|int | 'abc'|int(-1) | '0x1f'|int(0, 16) | '0x1f'|int(base=16) | 3.99|int | -3.99|int | ' 12 '|int | '1_000'|int | none|int | true|int | '2.5'|float | 'abc'|float | '1e3'|float
'nan'|float | 'inf'|float | '-inf'|float|string | 3|float | -5|abs | -2.5|abs | 2.5|round | 3.5|round | 2.675|round(2) | 42.55|round(1, 'floor') | 42.51|round(1, 'ceil') | 1234|round(-2) | 1234.5|round(-2) | 7|round
quotes|e | quotes|escape|escape | quotes|safe | ('<'|safe) + '<' | ('<'|e) ~ '<' | quotes|tojson | u|tojson | u|tojson(ensure_ascii=true) | d|tojson | nested|tojson | x|tojson | none|tojson | t|tojson
d|tojson(indent=2) | nested|tojson(indent=4) | d|tojson(separators=(',', ':')) | d|tojson(sort_keys=true) | {'b': {}, 'a': []}|tojson(indent=1) | {1: 2, none: 3, true: 4, 1.5: 5}|tojson | 1e20|tojson | 0.1|tojson
d|tojson(indent='--') | "\x00\x1f\x7f\u2028"|tojson | (1, 2)|tojson | '/'|tojson | lines|indent | lines|indent(2) | lines|indent(2, true) | lines|indent(width=2, blank=true) | lines|indent('> ', first=true) | ''|indent
d|items|list | {'x': 1}|items|list | d|dictsort | {'b': 1, 'A': 2}|dictsort | {'b': 1, 'A': 2}|dictsort(true) | {'b': 1, 'a': 2}|dictsort(by='value') | {'b': 1, 'a': 2}|dictsort(reverse=true)
[1, 2, 3, 4, 5]|batch(2)|list | [1, 2, 3, 4, 5]|batch(2, 0)|list | [1, 2, 3, 4, 5]|slice(2)|list | [1, 2, 3, 4, 5]|slice(3, 'x')|list | 'abc'|list | d|list | 'ab'|attr('upper') is callable
users|groupby('age')|map('first')|list | users|groupby('age')|map('last')|map('length')|list | '%s is %d'|format('x', 3) | '%(a)s'|format(a=1)
"%s" % 'x' | "%d %5.2f|%-5s|%05d" % (3, 2.5, 'ab', 42) | "%x %X %o %e %g" % (255, 255, 8, 12345.678, 0.0001) | "%r" % ["a"] | "%%" % () | "%c" % 'x' | "%+d % d" % (3, 3) | "%5s|%.2s" % ('ab', 'abc') | "%i" % 3.9
"{} {}".format(1, 'a') | "{1} {0}".format(1, 'a') | "{a} {b!r}".format(a=1, b='x') | "{:>5}|{:<5}|{:^5}|".format('a', 'b', 'c') | "{:05d} {:.2f} {:,}".format(42, 3.14159, 1234567) | "{0[0]} {0[1]}".format([1, 2])
"{:*^9}".format('mid') | "{{}}".format() | "{:x} {:#x} {:b} {:e} {:%}".format(255, 255, 5, 12345.678, 0.25) | "{:+d} {: d}".format(3, 3) | "{:10}|{:10}|".format(1, 'a') | "{d[b]}".format(d=d)
s.upper() | s.lower() | s.title() | "they're".title() | s.swapcase() | 'ABC'.casefold() | blank.strip() | blank.lstrip() | blank.rstrip() | 'xxaxx'.strip('x') | 'xyaxy'.strip('yx') | s.split() | ' a  b '.split()
s.split('o') | 'a,b,c'.split(',', 1) | 'a b c'.split(none, 1) | ' a b  c '.split(maxsplit=1) | 'a,b,c'.rsplit(',', 1) | ' a b  c '.rsplit(none, 1) | ''.split() | ''.split(',') | 'a,,b'.split(',') | lines.splitlines() | lines.splitlines(true) | 'a\r\nb\rc\n'.splitlines()
s.startswith('Hell') | s.startswith(('x', 'H')) | s.endswith('ld') | s.startswith('World', 6) | s.startswith('') | s.find('o') | s.find('o', 5) | s.find('z') | s.rfind('o') | s.index('W') | u.find('世') | s.count('l') | 'aaa'.count('aa') | 'abc'.count('')
s.replace('l', 'L') | s.replace('l', 'L', 2) | '-'.join(['a', 'b']) | ''.join(words) | 'abc'.removeprefix('ab') | 'abc'.removesuffix('bc') | 'a=b=c'.partition('=') | 'a=b=c'.rpartition('=') | 'abc'.partition('x')
'12'.isdigit() | '1a'.isdigit() | 'ab'.isalpha() | 'a1'.isalnum() | ' '.isspace() | ''.isspace() | 'AB'.isupper() | 'ab'.islower() | '12'.isnumeric() | '7'.zfill(3) | '-7'.zfill(4) | 'a'.ljust(3, '.') | 'a'.rjust(3) | 'a'.center(4, '*') | 'ab'.center(5)
d.keys()|list | d.values()|list | d.items()|list | d.get('b') | d.get('zz') | d.get('zz', 5) | d.keys() | d.items()|length | 'b' in d.keys() | [1, 2, 1].count(1) | [1, 2, 1].index(2) | (1, 2).count(2) | d.copy() == d
range(3) | range(3)|list | range(1, 10, 3)|list | range(3, 0, -1)|list | range(0)|list | range(2)|length | range(5)[1] | range(3)|sum | 2 in range(3) | dict(a=1, b='x') | dict({'a': 1}, b=2) | dict([('a', 1)])
namespace(a=1).a | namespace(a=1).b is defined | [1] + [2] | (1,) + (2,) | 'ab' * 3 | 3 * 'ab' | [0] * 2 | 'a' * 0 | 'x' * -1 | [1, 2, 3][1:][0] | {'a': {'b': [10, 20]}}.a.b[1] | 'abc'[1].upper() | list.0 | nested.0.1 | (list)[0]
1 if missing is defined else 'u' | missing|length | missing|list | missing|upper | missing ~ 'x' | [missing] | missing|string|length | n|string|length | users[0].name[0] | users[0]['name']|lower | (s|upper)[0:3] | s|upper|lower|title
- n | +n | - -3 | not not true | 1_000 | 0x1F | 0b101 | 0o17 | 1_0.5 | true is true | 'a' in ['a'] and 'b' not in ['a'] | 5 // 2 * 2 | 2 * 3 % 4 | 2 ** 3 ** 2 | 1 - 1 - 1 | 'a' ~ 'b' * 2 | 1 ~ 2 + 3 | [1,2,][1] | {'a':1,}.a
d.a is mapping and d.a.c is sequence | (users|first).name | (users|last).on is defined | users|map(attribute='name')|sort|join(' ') | users|map(attribute='age')|unique|list | 'Z' ~ (1, 'a') ~ [none]
loop is defined | raise_exception is callable | strftime_now is callable | '  a'.lstrip() ~ '|' | '\u00a0x\u3000'.strip() | 'ǅ'|lower | 'İ'|upper | 'σς'|upper | 'ÀÉ'|title | 'x'|tojson|length | ('a' ~ 'b')|upper | 1 in [1.0] | {1: 'a'}[1.0] | {1: 'a'}[true]
{}.get('x') is none | {'a': none}.a is none | none is defined | [[1, 2], [3]]|map('first')|list | [[1, 2], [3]]|map(attribute=0)|list | [3, 1]|map('string')|join('+') | 'b,a'.split(',')|sort|join(',') | 1.0 == 1 | 1e400 | 0.1 + 0.7 | 1/7*7 | 3.0 ** 2 | 2 ** 0.5 | 2 ** 62
"a" < 1 | 1 + 'a' | 'a' + 1 | missing + 1 | missing.x | missing.x.y | d.missing.x | none.x | none.x.y | 1 // 0 | 1 % 0 | 1 / 0 | list.append(4) | d.pop('b') | d.update({}) | s.nope() | missing() | n() | [] < {} | range(1000000) | 'a'.join([1]) | s[0:1:0] | 2 ** 64 + 0 if false else 'ok' | 'x' in 5 | {}[[]] is defined | {[]: 1} | none|length | none|join | 5|list | 'x'|abs | [1, 'a']|sort | [1]|sum(start='') | missing|tojson | s|tojson(5, 6, 7, 8, 9) | raise_exception('bad ' ~ n) | raise_exception("quote's") | s.__class__ | ''.__class__.__mro__ | namespace(__x=1) | "%d" % 'a' | "%s %s" % 'a' | "%s" % ('a', 'b') | "{}".format() | "{x}".format() | ''|int(1, 2, 3) | 'abc'.index('z') | [1].index(5) | ''.split('') | dict(1) | n.foo.bar
"""

STATEMENTS = [
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}", "{% if f %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if f %}a{% elif none %}b{% else %}c{% endif %}", "{% if f %}x{% endif %}|",
    "{% for i in list %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for i in [] %}x{% else %}none{% endfor %}",
    "{% for i in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for i in list %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }};{% endfor %}", "{% for i in range(5) %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for a in range(2) %}{% for b in range(2) %}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}{{ loop.depth }};{% endfor %}",
    "{% for i in [1, 1, 2, 2, 1] %}{{ loop.changed(i) }} {% endfor %}", "{% for i in range(10) if i is odd %}{{ loop.index }}:{{ i }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }};{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }} {% endfor %}",
    "{% for i in range(10) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in range(5) %}{% if i == 3 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% set a = 1 %}{% for i in list %}{% set a = i %}{{ a }}{% endfor %}{{ a }}", "{% set ns = namespace(a=1) %}{% for i in list %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}",
    "{% set a = 5 %}{% for i in [1, 2] %}{{ a }}{% set a = i %}{{ a }};{% endfor %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}",
    "{% set a %}  x {{ n }} {% endset %}[{{ a }}]", "{% set a | upper %}abc{% endset %}{{ a }}", "{% set ns = namespace() %}{% set ns.x = 5 %}{{ ns.x }}",
    "{% if t %}{% set a = 9 %}{% endif %}{{ a }}", "{% if f %}{% set a = 9 %}{% endif %}{{ a is defined }}", "{% set n = n + 1 %}{{ n }}",
    "{% macro f(a, b=2) %}{{ a }}-{{ b }};{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=1, a=0) }}", "{% macro f(a) %}[{{ a }}]{% endmacro %}{{ f() }}",
    "{% macro f(a, b=a) %}{{ b }}{% endmacro %}{{ f(4) }}", "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}",
    "{% macro f(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) f(5) %}in {{ y }}{% endcall %}", "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}body{% endcall %}",
    "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}", "{% macro fact(k) %}{% if k < 2 %}1{% else %}{{ k * (fact(k - 1)|int) }}{% endif %}{% endmacro %}{{ fact(6) }}",
    "{% set v = 3 %}{% macro f() %}{{ v }}{% endmacro %}{% set v = 4 %}{{ f() }}", "{% macro f() %}{% set q = 1 %}{{ q }}{% endmacro %}{{ f() }}{{ q is defined }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f('x')|upper }}{{ f('x') ~ 'y' }}{{ f(1) == '1' }}", "{% macro f() %}{% for i in range(2) %}{{ loop.index }}{{ n }}{% endfor %}{% endmacro %}{{ f() }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z is defined }}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}banana{% endfilter %}", "{% raw %}{{ n }} {% if %}{% endraw %}!",
    "{# comment #}a{# multi\nline #}b", "{% generation %}gen {{ n }}{% endgeneration %}!", "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}\n  b\n  {% endif %}\nc",
    "a   {%- if t -%}   b   {%- endif -%}   c", "a\n   {%+ if t %}b{% endif +%}\nc", "  {{- n -}}  x", "{{ n }}\n\n{{ n }}\n", "x\n{# c #}\ny", "x\n  {# c #}  \ny", "x {#- c -#} y",
    "line\r\nnext\rlast\r\n", "\n\n{% if t %}\n\nx{% endif %}\n\n", "{%- for i in list %}\n    {{- i }}\n{%- endfor %}\nend", "{% for i in list %}\n  {{ i }}\n{% endfor %}\n",
    "   {% set a = 1 %}   {{ a }}", "{{ '{{' }}{{ '%}' }}", "{{ {'a': {'b': 1}}.a }}", "{% raw -%}   a {%- endraw %}  b", "  {% raw %}\n  a\n  {% endraw %}\n b", "{{ n }}  {%- if t %} y {% endif -%}  z",
    "{%if t%}x{%endif%}", "{{n}}{{-n}}{{ -n }}", "a{{ '' }}\n{% if t %}\n  b{% endif %}", "\t{% if t %}\tx\t{% endif %}\t\n", "x \n {%- if t %}\n y\n {%- endif %}\n z",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}", "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}", "{% print n %}",
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m.content|trim }}{% endfor %}", "{% for m in messages if m.role == 'system' %}x{% else %}no system{% endfor %}",
    "{% set ns = namespace(found=false) %}{% for u in users %}{% if u.on %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}", "{{ ns }}{% set ns = namespace(a=1) %}",
    "{% for i in range(3) %}{{ i }}{% else %}x{% endfor %}{% for i in range(2) %}{% set k = loop %}{{ k.index }}{% endfor %}", "{% set x = [1, 2] %}{% set y = x + [3] %}{{ y }}{{ x }}",
    "{% for i in list %}{% for j in list if j < i %}{{ i }}{{ j }} {% endfor %}{% endfor %}", "{% for i in list %}{{ loop.index }}{% for j in [1] %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}",
    "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{{ f is defined }}{% macro f() %}{% endmacro %}{{ f is defined }}", "{% if 1 %}{% macro g() %}G{% endmacro %}{% endif %}{{ g() }}",
    "{{ n if t }}{{ n if f }}", "{% if n is defined and n is not none and n > 3 %}y{% endif %}", "{{ [1,2,3]|length > 2 }}", "{{ (1, 2)|join('-') }}{{ not t }}{{ - n|abs }}", "{{ -5|abs }}",
    "{% set a = none %}{{ a or 'dflt' }}{{ a|default('d') }}", "{% for a in 'ab' %}{% for b in 'cd' %}{{ a ~ b }}{% if b == 'c' %}{% continue %}{% endif %}!{% endfor %}{% if a == 'a' %}{% break %}{% endif %}{% endfor %}",
    "{{ strftime_now('%%') }}", "{{ strftime_now('plain') }}", "{% set q = 'a' if f else none %}{{ q }}{{ q is none }}", "{{ d|dictsort|list|length }}", "{% set _ = d.keys() %}{{ _|list }}",
    "{% for t in [{'type': 'function', 'function': {'name': 'f', 'parameters': {'type': 'object', 'properties': {'x': {'type': 'string'}}}}}] %}{{ t | tojson }}\n{{ t.function | tojson(indent=4) }}{% endfor %}",
    # refused
    "{% for i in %}", "{% if %}{% endif %}", "{{ }}", "{{ 1 + }}", "{{ (1 }}", "{{ 1 }", "{% nope %}", "{% endif %}", "{% if t %}", "{{ s|nope }}", "{{ s is nope }}", "{% set 1 = 2 %}", "{{ 'abc }}",
    "{% break %}", "{{ a b }}", "{{ 1 ? 2 }}", "{# open", "{% for i in list %}{% endif %}", "{% macro f(a=1, b) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{% set true = 1 %}", "{{ [1, 2 }}", "{% endfor %}",
    "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for i in 5 %}{% endfor %}", "{% macro f() %}{% endmacro %}{{ f(1) }}", "{% macro f() %}{% endmacro %}{{ f(x=1) }}", "{% set n.x = 1 %}",
    "{{ 1 is odd is even }}", "{{ {} }}{{ {1} }}", "{% if messages[0]['role'] != 'system' %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}",
]


def expected(template):
    try:
        return {"output": _compile_jinja_template(template).render(**V)}
    except jinja2.exceptions.TemplateError as error:
        raised = "raise_exception(" in template
        return {"error": error.message or ""} if raised else {"error": None}
    except Exception:
        return {"error": None}


def main():
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
    templates = ["{{ " + e.strip() + " }}" for line in EXPRESSIONS.strip().splitlines() for e in line.split(" | ")]
    templates += STATEMENTS
    with open(os.path.join(folder, "expressions.jsonl"), "w", encoding="utf-8") as file:
        file.write(json.dumps({"variables": V}, ensure_ascii=False) + "\n")
        for template in dict.fromkeys(templates):
            file.write(json.dumps({"template": template, **expected(template)}, ensure_ascii=False) + "\n")


main()
