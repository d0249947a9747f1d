/* fuzz_main.c - drives a fuzz target without libFuzzer.
 *   fuzz_NAME FILE...    replays files
 *   fuzz_NAME            as many mutations of the seeds as CARAT_FUZZ_RUNS says (20000), for at most
 *                        CARAT_FUZZ_SECONDS (20); always the same ones
 *   fuzz_NAME --run N    the N-th of them alone */
#include "fuzz.h"
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LARGEST = 1 << 16 };

static long current_run = -1;

/* ---------------------------------------------------------------------------------------- mutations ----- */

typedef struct mutator {
    uint64_t state;
    uint8_t *data;
    size_t size;
} mutator;

/* splitmix64 (Steele, Lea and Flood, 2014) */
static uint64_t draw(mutator *m) {
    uint64_t z = (m->state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(mutator *m, size_t bound) {
    return bound ? (size_t)(draw(m) % bound) : 0;
}

static void insert(mutator *m, size_t at, const void *bytes, size_t size) {
    if (size > LARGEST - m->size) return;
    memmove(m->data + at + size, m->data + at, m->size - at);
    memcpy(m->data + at, bytes, size);
    m->size += size;
}

static void erase(mutator *m, size_t at, size_t size) {
    memmove(m->data + at, m->data + at + size, m->size - at - size);
    m->size -= size;
}

static void insert_word(mutator *m) {
    size_t count = 0;
    while (fuzz_words[count])
        count++;
    if (!count) return;
    const char *word = fuzz_words[below(m, count)];
    insert(m, below(m, m->size + 1), word, strlen(word));
}

static void insert_random(mutator *m) {
    uint8_t bytes[8];
    size_t size = 1 + below(m, sizeof bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)draw(m);
    insert(m, below(m, m->size + 1), bytes, size);
}

static void repeat_piece(mutator *m) {
    uint8_t piece[64];
    if (!m->size) return;
    size_t from = below(m, m->size),
           size = 1 + below(m, m->size - from < sizeof piece ? m->size - from : sizeof piece);
    if (size > m->size - from) size = m->size - from;
    memcpy(piece, m->data + from, size);
    for (size_t times = 1 + below(m, 16); times > 0; times--)
        insert(m, from, piece, size);
}

static void change_number(mutator *m) {
    static const char *const numbers[] = {"0",
                                          "1",
                                          "-1",
                                          "255",
                                          "4294967296",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "1e308",
                                          "18446744073709551615"};
    size_t at = below(m, m->size + 1);
    while (at < m->size && (m->data[at] < '0' || m->data[at] > '9'))
        at++;
    size_t end = at;
    while (end < m->size && m->data[end] >= '0' && m->data[end] <= '9')
        end++;
    if (at == m->size) return;
    erase(m, at, end - at);
    const char *number = numbers[below(m, sizeof numbers / sizeof numbers[0])];
    insert(m, at, number, strlen(number));
}

static void mutate(mutator *m) {
    size_t at = below(m, m->size);
    switch (below(m, 8)) {
    case 0:
        if (m->size) m->data[at] ^= (uint8_t)(1u << below(m, 8));
        break;
    case 1:
        if (m->size) m->data[at] = (uint8_t)draw(m);
        break;
    case 2:
        insert_random(m);
        break;
    case 3:
        erase(m, at, below(m, m->size - at + 1));
        break;
    case 4:
        repeat_piece(m);
        break;
    case 5:
        change_number(m);
        break;
    default:
        insert_word(m);
    }
}

/* ------------------------------------------------------------------------------------------------ running */

static void run(long number) {
    static uint8_t room[LARGEST];
    size_t seeds = 0;
    while (fuzz_seeds[seeds].data)
        seeds++;
    mutator m = {.state = (uint64_t)number * 0x2545f4914f6cdd1du + 1, .data = room};
    const fuzz_seed *seed = &fuzz_seeds[below(&m, seeds)];
    m.size = seed->size < LARGEST ? seed->size : LARGEST;
    memcpy(m.data, seed->data, m.size);
    if ((size_t)number >= seeds) /* the first runs are the seeds as they are, or nearly */
        for (size_t times = 1 + below(&m, 8); times > 0; times--)
            mutate(&m);
    uint8_t *exact = malloc(m.size ? m.size : 1); /* its own block, so that a sanitizer sees its ends */
    if (!exact) abort();
    memcpy(exact, m.data, m.size);
    current_run = number;
    LLVMFuzzerTestOneInput(exact, m.size);
    free(exact);
}

static void say_run(void) {
    char text[80];
    int length = snprintf(text, sizeof text, "\nin mutation %ld: repeat it with --run %ld\n", current_run,
                          current_run);
    if (write(2, text, (size_t)length) < 0) _exit(3);
}

static void on_abort(int signal_number) {
    say_run();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static int replay(const char *path) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(1 << 24);
    if (!file || !data) {
        fprintf(stderr, "%s: cannot be read\n", path);
        free(data);
        if (file) fclose(file);
        return 1;
    }
    size_t size = fread(data, 1, 1 << 24, file);
    fclose(file);
    uint8_t *exact = realloc(data, size ? size : 1);
    LLVMFuzzerTestOneInput(exact ? exact : data, size);
    free(exact ? exact : data);
    return 0;
}

int main(int count, char **arguments) {
    const char *runs_text = getenv("CARAT_FUZZ_RUNS"), *seconds_text = getenv("CARAT_FUZZ_SECONDS");
    long runs = runs_text ? atol(runs_text) : 20000, done = 0;
    double limit = seconds_text ? atof(seconds_text) : 20;
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(say_run);
    if (count == 3 && strcmp(arguments[1], "--run") == 0) {
        run(atol(arguments[2]));
        return 0;
    }
    int failures = 0;
    for (int i = 1; i < count; i++)
        failures += replay(arguments[i]);
    if (count > 1) return failures != 0;
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (bool late = false; done < runs && !late; done++) {
        run(done);
        clock_gettime(CLOCK_MONOTONIC, &now);
        late = (double)(now.tv_sec - begin.tv_sec) + 1e-9 * (double)(now.tv_nsec - begin.tv_nsec) > limit;
    }
    printf("%ld mutations of the seeds\n", done);
    return 0;
}
