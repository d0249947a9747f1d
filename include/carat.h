/* carat.h - the whole library. */
#ifndef CARAT_CARAT_H
#define CARAT_CARAT_H

#include <carat/archive.h>
#include <carat/autograd.h>
#include <carat/base.h>
#include <carat/bench.h>
#include <carat/chat.h>
#include <carat/claim.h>
#include <carat/convert.h>
#include <carat/data.h>
#include <carat/distill.h>
#include <carat/dtype.h>
#include <carat/ensemble.h>
#include <carat/evaluate.h>
#include <carat/fit.h>
#include <carat/format.h>
#include <carat/generate.h>
#include <carat/gguf.h>
#include <carat/initializer.h>
#include <carat/inspect.h>
#include <carat/link.h>
#include <carat/method.h>
#include <carat/model.h>
#include <carat/nn.h>
#include <carat/norm.h>
#include <carat/npz.h>
#include <carat/ops.h>
#include <carat/optimizer.h>
#include <carat/parametrization.h>
#include <carat/plan.h>
#include <carat/schedule.h>
#include <carat/search.h>
#include <carat/sft.h>
#include <carat/template.h>
#include <carat/tensor.h>
#include <carat/tokenizer.h>
#include <carat/train.h>

#endif
