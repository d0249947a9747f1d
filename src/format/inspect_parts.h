/* inspect_parts.h - what the files of ct_inspect share. */
#ifndef CARAT_FORMAT_INSPECT_PARTS_H
#define CARAT_FORMAT_INSPECT_PARTS_H

#include "carat/inspect.h"

/* What configuration and metadata say, and how many parameters there are; NULL without an error if neither
 * says anything. */
ct_value *ct_inspect_model(ct_archive *archive, const ct_value *config, const ct_value *metadata);
/* From FOLDER/adapter_config.json and from the files of a tokenizer; NULL without an error if there are none.
 */
ct_value *ct_inspect_adapter(ct_context *context, const char *folder);
ct_value *ct_inspect_tokenizer(ct_context *context, const char *folder);
/* What a GGUF file says of its tokenizer. */
ct_value *ct_inspect_gguf_tokenizer(ct_context *context, const ct_value *metadata);
/* Fails with the names of all shards that an index of the folder names and that do not exist. */
ct_status ct_inspect_shards(ct_context *context, const char *folder);
/* A list of {file, bytes}: all files of weights at the top of the folder. */
ct_value *ct_inspect_weights(ct_context *context, const char *folder);
#endif
