"""Writes the tables of value_text.h, value_digits.h and value_float.c as a C file, exactly computed; run by the
build.

    value_tables.py > value_tables.c
"""

import datetime


def table(declaration, items, per_line):
    print(f'\n{declaration} = {{')
    for i in range(0, len(items), per_line):
        print('    ' + ' '.join(item + ',' for item in items[i:i + per_line]))
    print('};')


def month_days():
    """The days of a year from March on, and February's last."""
    day = datetime.date(1999, 3, 1)
    return [f'"{day + datetime.timedelta(days=i):-%m-%d}"' for i in range(366)]


def reciprocal(i):
    d = 10**i
    bits = d.bit_length()
    return f'{{{-(-2**(63 + bits) // d)}u, {bits - 1}}}'


def significand(k):
    """The upper 128 bits of 10^k, rounded up."""
    if k >= 0:
        power = 10**k
        shift = power.bit_length() - 128
        upper = power << -shift if shift <= 0 else -(-power >> shift)
    else:
        shift = (10**-k).bit_length() + 127
        upper = -(-2**shift // 10**-k)
        assert 2**127 <= upper
    assert upper.bit_length() == 128
    return f'{{0x{upper >> 64:016X}, 0x{upper % 2**64:016X}}}'


print('/* Made by value_tables.py. */')
print('#include "worker/value_float.h"\n#include "worker/value_text.h"')
table('const uint64_t value_powers_of_ten[20]', [f'{10**i}u' for i in range(20)], 4)
table('const struct value_reciprocal value_reciprocals[19]', ['{0, 0}'] + [reciprocal(i) for i in range(1, 19)],
      3)
table('const char value_pairs[100][2]', [f"{{'{i // 10}', '{i % 10}'}}" for i in range(100)], 8)
table('const char value_month_days[366][8]', month_days(), 10)
table('const struct value_significand value_significands[]', [significand(k) for k in range(-292, 325)], 2)
