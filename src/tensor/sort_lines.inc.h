/* sort_lines.inc.h - sorting of words [key | place], included by raw_sort.c for each width of key. SORT_WORD:
 * an unsigned integer of twice SORT_BITS bits; SORT(name): the names of this width. The place makes words
 * distinct and their order that of (key, place): a sort that is correct is also stable. */

static void SORT(insertion)(int64_t n, SORT_WORD *words) {
    for (int64_t i = 1; i < n; i++) {
        SORT_WORD held = words[i];
        int64_t at = i;
        for (; at > 0 && words[at - 1] > held; at--)
            words[at] = words[at - 1];
        words[at] = held;
    }
}

/* By the bytes of the key, least significant first; bytes that all keys share are passed over. Places are in
 * order at the start, and each pass keeps them so among equal keys. Returns where the result is. */
static SORT_WORD *SORT(radix)(int64_t n, SORT_WORD *words, SORT_WORD *other) {
    if (n <= 32) {
        SORT(insertion)(n, words);
        return words;
    }
    SORT_WORD all = ~(SORT_WORD)0, any = 0;
    for (int64_t i = 0; i < n; i++) {
        all &= words[i];
        any |= words[i];
    }
    for (int shift = SORT_BITS; shift < 2 * SORT_BITS; shift += 8) {
        if (((all ^ any) >> shift & 0xff) == 0) continue;
        int64_t start[256] = {0}, sum = 0;
        for (int64_t i = 0; i < n; i++)
            start[words[i] >> shift & 0xff]++;
        for (int i = 0; i < 256; i++) {
            int64_t count = start[i];
            start[i] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++)
            other[start[words[i] >> shift & 0xff]++] = words[i];
        SORT_WORD *swap = words;
        words = other;
        other = swap;
    }
    return words;
}

static void SORT(sift_down)(int64_t n, SORT_WORD *heap, int64_t at) {
    SORT_WORD held = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] > heap[child]) child++;
        if (heap[child] <= held) break;
        heap[at] = heap[child];
    }
    heap[at] = held;
}

/* The k least words of the line, in order: a heap with the greatest of them on top. */
static SORT_WORD *SORT(select)(const sort_work *work, ct_cursor *cursor, SORT_WORD *heap) {
    SORT_KEY keys[CT_TILE];
    int64_t held = 0, k = work->wanted;
    for (int64_t first = 0; first < work->length; first += CT_TILE) {
        int64_t n = work->length - first < CT_TILE ? work->length - first : CT_TILE, i = 0;
        SORT(keys)(work, cursor, n, keys);
        for (; i < n && held < k; i++) {
            heap[held++] = (SORT_WORD)keys[i] << SORT_BITS | (SORT_WORD)(first + i);
            if (held == k)
                for (int64_t at = k / 2 - 1; at >= 0; at--)
                    SORT(sift_down)(k, heap, at);
        }
        while (i < n) {
            SORT_KEY bound = (SORT_KEY)(heap[0] >> SORT_BITS); /* later places with this key are too late */
            int64_t some = 0, end = i + 64 < n ? i + 64 : n;
            for (int64_t j = i; j < end; j++)
                some += keys[j] < bound;
            for (; some && i < end; i++) {
                if (keys[i] >= (SORT_KEY)(heap[0] >> SORT_BITS)) continue;
                heap[0] = (SORT_WORD)keys[i] << SORT_BITS | (SORT_WORD)(first + i);
                SORT(sift_down)(k, heap, 0);
            }
            i = end;
        }
    }
    for (int64_t n = k - 1; n > 0; n--) { /* heap sort */
        SORT_WORD greatest = heap[0];
        heap[0] = heap[n];
        heap[n] = greatest;
        SORT(sift_down)(n, heap, 0);
    }
    return heap;
}

static SORT_WORD *SORT(all)(const sort_work *work, ct_cursor *cursor, SORT_WORD *words) {
    SORT_KEY keys[CT_TILE];
    for (int64_t first = 0; first < work->length; first += CT_TILE) {
        int64_t n = work->length - first < CT_TILE ? work->length - first : CT_TILE;
        SORT(keys)(work, cursor, n, keys);
        for (int64_t i = 0; i < n; i++)
            words[first + i] = (SORT_WORD)keys[i] << SORT_BITS | (SORT_WORD)(first + i);
    }
    return SORT(radix)(work->length, words, words + work->length);
}

static void SORT(line)(const sort_work *work, int64_t line, void *scratch) {
    ct_operand x = work->x_line;
    ct_cursor cursor;
    ct_cursor_seek(&cursor, &work->x_lines, line);
    x.data = ct_cursor_address(&cursor);
    ct_cursor_seek(&cursor, &x, 0);
    const SORT_WORD *sorted =
        by_heap(work) ? SORT(select)(work, &cursor, scratch) : SORT(all)(work, &cursor, scratch);
    ct_cursor_seek(&cursor, &work->y_lines, line);
    char *y = ct_cursor_address(&cursor);
    ct_cursor_seek(&cursor, &work->index_lines, line);
    int64_t *index = (int64_t *)ct_cursor_address(&cursor);
    int64_t y_step = work->y_line.stride[0] * x.size, index_step = work->index_line.stride[0];
    for (int64_t i = 0; i < work->wanted; i++) {
        int64_t place = (int64_t)(sorted[i] & (((SORT_WORD)1 << SORT_BITS) - 1));
        memcpy(y + i * y_step, x.data + place * x.stride[0] * x.size, (size_t)x.size);
        index[i * index_step] = place;
    }
}

#undef SORT
#undef SORT_WORD
#undef SORT_KEY
#undef SORT_BITS
