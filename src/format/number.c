/* number.c - reals as text and back. strtod and printf follow the program's locale, which may want a comma;
 * then the calling thread takes the "C" locale for the moment of the conversion. */
#include "format/number.h"
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct plain_locale {
    locale_t made, before;
} plain_locale;

static plain_locale enter_plain_locale(void) {
    plain_locale state = {(locale_t)0, (locale_t)0};
    if (strcmp(localeconv()->decimal_point, ".") == 0) return state;
    state.made = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (state.made != (locale_t)0) state.before = uselocale(state.made);
    return state;
}

static void leave_plain_locale(plain_locale state) {
    if (state.made == (locale_t)0) return;
    uselocale(state.before);
    freelocale(state.made);
}

double ct_number_parse(const char *text) {
    plain_locale locale = enter_plain_locale();
    double value = strtod(text, NULL);
    leave_plain_locale(locale);
    return value;
}

void ct_number_text(double value, char text[CT_NUMBER_TEXT]) {
    plain_locale locale = enter_plain_locale();
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, CT_NUMBER_TEXT, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    leave_plain_locale(locale);
    if (!strpbrk(text, ".e")) strcat(text, ".0");
}
