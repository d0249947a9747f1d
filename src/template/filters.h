/* filters.h - inside template: filters of lists, for the table in filters.c. */
#ifndef CARAT_TEMPLATE_FILTERS_H
#define CARAT_TEMPLATE_FILTERS_H

#include "template/value.h"

#define CT_FILTER(name)                                                                                      \
    bool ct_filter_##name(jinja_render *r, const jinja_value *v, const jinja_arguments *a, jinja_value *out)
CT_FILTER(attr);
CT_FILTER(batch);
CT_FILTER(dictsort);
CT_FILTER(first);
CT_FILTER(groupby);
CT_FILTER(items);
CT_FILTER(join);
CT_FILTER(last);
CT_FILTER(length);
CT_FILTER(list);
CT_FILTER(map);
CT_FILTER(max);
CT_FILTER(min);
CT_FILTER(reject);
CT_FILTER(rejectattr);
CT_FILTER(reverse);
CT_FILTER(select);
CT_FILTER(selectattr);
CT_FILTER(slice);
CT_FILTER(sort);
CT_FILTER(sum);
CT_FILTER(unique);

/* "a.0.b" of a value, or an index; NULL or MISSING: the value itself. With `default_value`, what is undefined
 * on the way is that. */
bool ct_filter_value_at(jinja_render *r, const jinja_value *v, const jinja_value *attribute,
                        const jinja_value *default_value, jinja_value *out);
/* The same and, unless case counts, in lower case if it is a string. */
bool ct_filter_key(jinja_render *r, const jinja_value *v, const jinja_value *attribute, bool case_sensitive,
                   jinja_value *out);

#endif
