/*
 * Linear combinations of shards over GF(2^8), for wasm32 with 128-bit SIMD. Built by scripts/build-erasure.ts, which also says
 * how many shards there are and how long a chunk is (DATA_MAX, PRODUCTS_MAX, CHUNK_BYTES).
 *
 * A product with a constant is two lookups in 16 bytes, one for each half of a byte: c*x = c*(x & 15) ^ c*(x & 240). The field
 * itself is in those tables alone, and they are made by the caller (src/shards/erasure/kernel.ts).
 *
 * Why one pass over all columns for each 32 bytes: sums stay in registers. 2 vectors of up to 5 sums, 2 halves of each, 2 tables and
 * a mask are 17 registers of 128 bits; x86-64 has 16, and spilling one costs less than loading the tables twice as often.
 *
 * See J. S. Plank, K. M. Greenan, E. L. Miller: Screaming Fast Galois Field Arithmetic Using Intel SIMD Instructions, FAST 2013.
 */
#include <stdint.h>
#include <wasm_simd128.h>

#define LANES 16
#define VECTORS 2
#define INLINE static inline __attribute__((always_inline))

/* Chunks of the shards that come in, then of those that go out. Each starts on a line of the cache. */
__attribute__((aligned(64))) uint8_t shards[DATA_MAX + PRODUCTS_MAX + 1][CHUNK_BYTES];
/* For each column, for each product: 16 products of the lower half of a byte, 16 of the upper. */
__attribute__((aligned(64))) uint8_t tables[DATA_MAX * PRODUCTS_MAX * 2 * LANES];

/* Adds one column: to the products always, to the plain sum when `plain`. `products` is known when this is compiled. */
INLINE void add_column(const uint32_t products, const int plain, const uint8_t *from, const uint8_t *table,
                       v128_t sums[][VECTORS]) {
  const v128_t low_mask = wasm_i8x16_splat(0x0f);
  v128_t low[VECTORS], high[VECTORS];
  for (uint32_t v = 0; v < VECTORS; v++) {
    const v128_t bytes = wasm_v128_load(from + LANES * v);
    if (plain) sums[products][v] = wasm_v128_xor(sums[products][v], bytes);
    low[v] = wasm_v128_and(bytes, low_mask);
    high[v] = wasm_u8x16_shr(bytes, 4);
  }
  for (uint32_t p = 0; p < products; p++) {
    const v128_t of_low = wasm_v128_load(table + 2 * LANES * p);
    const v128_t of_high = wasm_v128_load(table + 2 * LANES * p + LANES);
    for (uint32_t v = 0; v < VECTORS; v++) {
      const v128_t product = wasm_v128_xor(wasm_i8x16_swizzle(of_low, low[v]), wasm_i8x16_swizzle(of_high, high[v]));
      sums[p][v] = wasm_v128_xor(sums[p][v], product);
    }
  }
}

INLINE void combine_products(const uint32_t products, uint32_t columns, uint32_t plain, uint32_t mixed, uint32_t bytes) {
  for (uint32_t at = 0; at < bytes; at += LANES * VECTORS) {
    v128_t sums[PRODUCTS_MAX + 1][VECTORS];
    for (uint32_t p = 0; p <= products; p++)
      for (uint32_t v = 0; v < VECTORS; v++) sums[p][v] = wasm_i8x16_splat(0);
    const uint8_t *from = &shards[0][at];
    const uint8_t *table = tables;
    uint32_t column = 0;
    for (; column < plain; column++, from += CHUNK_BYTES, table += 2 * LANES * products)
      add_column(products, 1, from, table, sums);
    for (; column < columns; column++, from += CHUNK_BYTES, table += 2 * LANES * products)
      add_column(products, 0, from, table, sums);
    for (uint32_t p = 0; p < products; p++)
      for (uint32_t v = 0; v < VECTORS; v++) {
        wasm_v128_store(&shards[DATA_MAX + p][at + LANES * v], sums[p][v]);
        if (p < mixed) sums[products][v] = wasm_v128_xor(sums[products][v], sums[p][v]);
      }
    for (uint32_t v = 0; v < VECTORS; v++) wasm_v128_store(&shards[DATA_MAX + products][at + LANES * v], sums[products][v]);
  }
}

/*
 * Writes `products` linear combinations of the first `columns` chunks, and behind them the plain sum of the first `plain` chunks and
 * the first `mixed` combinations. Works on `bytes` rounded up to 32. plain <= columns <= DATA_MAX, mixed <= products <= PRODUCTS_MAX,
 * bytes <= CHUNK_BYTES: checked by the caller.
 */
__attribute__((export_name("combine"))) void combine(uint32_t columns, uint32_t products, uint32_t plain, uint32_t mixed,
                                                     uint32_t bytes) {
  switch (products) {
    case 0: combine_products(0, columns, plain, mixed, bytes); break;
    case 1: combine_products(1, columns, plain, mixed, bytes); break;
    case 2: combine_products(2, columns, plain, mixed, bytes); break;
    case 3: combine_products(3, columns, plain, mixed, bytes); break;
    case 4: combine_products(4, columns, plain, mixed, bytes); break;
    default: __builtin_trap();
  }
}
_Static_assert(PRODUCTS_MAX == 4, "combine has a case for each number of products");
_Static_assert(CHUNK_BYTES % (LANES * VECTORS) == 0, "a chunk is whole steps");
