#include "weir/stats/counters.h"

static const struct counter_info table[] = {
#define X(field, metric, unit, help) {#field, metric, unit, help, offsetof(struct counters_sum, field)},
    COUNTERS(X)
#undef X
};

const struct counter_info *counters_table(size_t *count)
{
    *count = sizeof(table) / sizeof(table[0]);
    return table;
}

uint64_t counters_value(const struct counters_sum *sum, const struct counter_info *info)
{
    return *(const uint64_t *)(const void *)((const char *)sum + info->offset);
}

void counters_collect(struct counters_sum *sum, const struct counters *counters)
{
#define X(field, metric, unit, help)                                                                         \
    sum->field += atomic_load_explicit(&counters->field, memory_order_relaxed);
    COUNTERS(X)
#undef X
    for (size_t i = 0; i < COUNTERS_PIN_REASONS; i++)
        sum->pins[i] += atomic_load_explicit(&counters->pins[i], memory_order_relaxed);
}

void counters_sum_add(struct counters_sum *sum, const struct counters_sum *other)
{
#define X(field, metric, unit, help) sum->field += other->field;
    COUNTERS(X)
#undef X
    for (size_t i = 0; i < COUNTERS_PIN_REASONS; i++)
        sum->pins[i] += other->pins[i];
}

static uint64_t minus(uint64_t after, uint64_t before)
{
    return after > before ? after - before : 0;
}

void counters_sum_difference(struct counters_sum *out, const struct counters_sum *after,
                             const struct counters_sum *before)
{
#define X(field, metric, unit, help) out->field = minus(after->field, before->field);
    COUNTERS(X)
#undef X
    for (size_t i = 0; i < COUNTERS_PIN_REASONS; i++)
        out->pins[i] = minus(after->pins[i], before->pins[i]);
}
