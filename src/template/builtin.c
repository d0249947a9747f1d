/* builtin.c - the built-in chat templates. Those of models write what the models' own templates write for
 * conversations without tools; `generation` blocks say what is learnt: an answer and the mark that ends it.
 */
#include "template/builtin.h"

/* <|im_start|>ROLE and <|im_end|> around every turn. */
static const char chatml[] =
    "{%- for message in messages -%}\n"
    "{{ '<|im_start|>' + message.role + '\\n' }}\n"
    "{%- if message.role == 'assistant' -%}\n"
    "{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}\n"
    "{%- else -%}\n"
    "{{ message.content + '<|im_end|>\\n' }}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}\n";

/* Turns alternate, the user's first; answers are the role "model"; there is no system turn. */
static const char gemma[] =
    "{{ bos_token|default('<bos>') }}\n"
    "{%- if messages and messages[0].role == 'system' -%}{{ raise_exception('System role not supported') "
    "}}{%- endif -%}\n"
    "{%- for message in messages -%}\n"
    "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}\n"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\n"
    "{%- endif -%}\n"
    "{%- if message.role == 'assistant' -%}\n"
    "{{ '<start_of_turn>model\\n' }}{% generation %}{{ message.content|trim + '<end_of_turn>' }}{% "
    "endgeneration %}\n"
    "{{- '\\n' }}\n"
    "{%- else -%}\n"
    "{{ '<start_of_turn>' + message.role + '\\n' + message.content|trim + '<end_of_turn>\\n' }}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}\n";

/* Touvron et al., arXiv:2307.09288: the system's words stand within the first turn. */
static const char llama2[] =
    "{%- set bos = bos_token|default('<s>') -%}\n"
    "{%- set turns = messages -%}\n"
    "{%- set system = none -%}\n"
    "{%- if messages and messages[0].role == 'system' -%}\n"
    "{%- set system = messages[0].content -%}\n"
    "{%- set turns = messages[1:] -%}\n"
    "{%- endif -%}\n"
    "{%- for message in turns -%}\n"
    "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}\n"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}\n"
    "{%- endif -%}\n"
    "{%- set content = message.content -%}\n"
    "{%- if loop.first and system is not none -%}\n"
    "{%- set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + content -%}\n"
    "{%- endif -%}\n"
    "{%- if message.role == 'user' -%}\n"
    "{{ bos + '[INST] ' + content.strip() + ' [/INST]' }}\n"
    "{%- elif message.role == 'assistant' -%}\n"
    "{% generation %}{{ ' ' + content.strip() + ' ' + eos_token|default('</s>') }}{% endgeneration %}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n";

static const char llama3[] = "{{ bos_token|default('<|begin_of_text|>') }}\n"
                             "{%- for message in messages -%}\n"
                             "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}\n"
                             "{%- if message.role == 'assistant' -%}\n"
                             "{% generation %}{{ message.content|trim + '<|eot_id|>' }}{% endgeneration %}\n"
                             "{%- else -%}\n"
                             "{{ message.content|trim + '<|eot_id|>' }}\n"
                             "{%- endif -%}\n"
                             "{%- endfor -%}\n"
                             "{%- if add_generation_prompt -%}{{ "
                             "'<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}\n";

/* For tokenizers without tokens of their own for it. */
static const char plain[] =
    "{%- for message in messages -%}\n"
    "{%- if message.role == 'assistant' -%}\n"
    "<assistant>{% generation %}{{ message.content + '</assistant>' }}{% endgeneration %}\n"
    "{%- else -%}\n"
    "{{ '<' + message.role + '>' + message.content + '</' + message.role + '>' }}\n"
    "{%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}\n";

static const char zephyr[] =
    "{%- for message in messages -%}\n"
    "{%- if message.role == 'assistant' -%}\n"
    "{{ '<|assistant|>\\n' }}{% generation %}{{ message.content + eos_token|default('</s>') }}{% "
    "endgeneration %}\n"
    "{{- '\\n' }}\n"
    "{%- elif message.role in ['user', 'system'] -%}\n"
    "{{ '<|' + message.role + '|>\\n' + message.content + eos_token|default('</s>') + '\\n' }}\n"
    "{%- endif -%}\n"
    "{%- if loop.last and add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}\n"
    "{%- endfor -%}\n";

const jinja_builtin ct_jinja_builtins[] = {{"chatml", chatml}, {"gemma", gemma}, {"llama2", llama2},
                                           {"llama3", llama3}, {"plain", plain}, {"zephyr", zephyr}};
const size_t ct_jinja_builtin_count = sizeof(ct_jinja_builtins) / sizeof(ct_jinja_builtins[0]);
