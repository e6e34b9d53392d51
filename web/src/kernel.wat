;; What JavaScript is too slow for: the range coder, in 64-bit whole numbers, and products of rows of
;; float32, four columns at a time. All places are bytes in the exported memory.
(module
  (memory (export "memory") 1)

  ;; The range decoder: the interval as its lower end and its size, the point within it, and where
  ;; the next word of the stream is.
  (global $lower (mut i64) (i64.const 0))
  (global $range (mut i64) (i64.const 0))
  (global $point (mut i64) (i64.const 0))
  (global $next (mut i32) (i32.const 0))
  (global $end (mut i32) (i32.const 0))

  ;; The next word of the stream; zero after its end.
  (func $word (result i64)
    (local $found i64)
    (if (i32.lt_u (global.get $next) (global.get $end))
      (then
        (local.set $found (i64.load32_u (global.get $next)))
        (global.set $next (i32.add (global.get $next) (i32.const 4)))))
    (local.get $found))

  ;; Begin a stream of so many words.
  (func (export "start") (param $at i32) (param $words i32)
    (global.set $next (local.get $at))
    (global.set $end (i32.add (local.get $at) (i32.mul (local.get $words) (i32.const 4))))
    (global.set $lower (i64.const 0))
    (global.set $range (i64.const -1))
    (global.set $point (i64.shl (call $word) (i64.const 32)))
    (global.set $point (i64.or (global.get $point) (call $word))))

  ;; Decode `count` symbols of one table into int32 at `out`. The table is `size` + 1 edges of the
  ;; symbols' shares of 2^24, int32. Returns 1 if all went well, 0 if the stream is impossible.
  (func (export "decode") (param $edges i32) (param $size i32) (param $count i32) (param $out i32)
    (result i32)
    (local $scale i64) (local $quantile i32) (local $low i32) (local $high i32) (local $middle i32)
    (local $place i32) (local $wide i64)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $scale (i64.shr_u (global.get $range) (i64.const 24)))
        (local.set $wide
          (i64.div_u (i64.sub (global.get $point) (global.get $lower)) (local.get $scale)))
        (if (i64.ge_u (local.get $wide) (i64.const 16777216)) (then (return (i32.const 0))))
        (local.set $quantile (i32.wrap_i64 (local.get $wide)))
        (local.set $low (i32.const 0))
        (local.set $high (local.get $size))
        (block $found
          (loop $halve
            (br_if $found
              (i32.le_s (i32.sub (local.get $high) (local.get $low)) (i32.const 1)))
            (local.set $middle
              (i32.shr_u (i32.add (local.get $low) (local.get $high)) (i32.const 1)))
            (if (i32.le_s
                  (i32.load (i32.add (local.get $edges) (i32.shl (local.get $middle) (i32.const 2))))
                  (local.get $quantile))
              (then (local.set $low (local.get $middle)))
              (else (local.set $high (local.get $middle))))
            (br $halve)))
        (local.set $place (i32.add (local.get $edges) (i32.shl (local.get $low) (i32.const 2))))
        (local.set $wide (i64.load32_u (local.get $place)))
        (global.set $lower
          (i64.add (global.get $lower) (i64.mul (local.get $scale) (local.get $wide))))
        (global.set $range
          (i64.mul (local.get $scale)
            (i64.sub (i64.load32_u offset=4 (local.get $place)) (local.get $wide))))
        (if (i64.eqz (i64.shr_u (global.get $range) (i64.const 32)))
          (then
            (global.set $range (i64.shl (global.get $range) (i64.const 32)))
            (global.set $lower (i64.shl (global.get $lower) (i64.const 32)))
            (global.set $point
              (i64.or (i64.shl (global.get $point) (i64.const 32)) (call $word)))))
        (i32.store (local.get $out) (local.get $low))
        (local.set $out (i32.add (local.get $out) (i32.const 4)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $again)))
    (i32.const 1))

  ;; The range encoder: its interval, and where the next word goes. Its lower end may overflow; the
  ;; carry goes to the words before.
  (global $from (mut i64) (i64.const 0))
  (global $size (mut i64) (i64.const 0))
  (global $free (mut i32) (i32.const 0))

  ;; Begin to write words at a place.
  (func (export "begin") (param $at i32)
    (global.set $free (local.get $at))
    (global.set $from (i64.const 0))
    (global.set $size (i64.const -1)))

  ;; Where the next word would go, and the interval's lower end and size.
  (func (export "written") (result i32) (global.get $free))
  (func (export "lower") (result i64) (global.get $from))
  (func (export "size") (result i64) (global.get $size))

  ;; Encode `count` symbols, int32 at a place, of one table as in `decode`.
  (func (export "encode") (param $edges i32) (param $symbols i32) (param $count i32)
    (local $scale i64) (local $place i32) (local $left i64) (local $next i64) (local $word i32)
    (block $done
      (loop $again
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $place
          (i32.add (local.get $edges) (i32.shl (i32.load (local.get $symbols)) (i32.const 2))))
        (local.set $left (i64.load32_u (local.get $place)))
        (local.set $scale (i64.shr_u (global.get $size) (i64.const 24)))
        (local.set $next
          (i64.add (global.get $from) (i64.mul (local.get $scale) (local.get $left))))
        (if (i64.lt_u (local.get $next) (global.get $from))
          (then
            (local.set $word (global.get $free))
            (loop $carry
              (local.set $word (i32.sub (local.get $word) (i32.const 4)))
              (i32.store (local.get $word)
                (i32.add (i32.load (local.get $word)) (i32.const 1)))
              (br_if $carry (i32.eqz (i32.load (local.get $word)))))))
        (global.set $from (local.get $next))
        (global.set $size
          (i64.mul (local.get $scale)
            (i64.sub (i64.load32_u offset=4 (local.get $place)) (local.get $left))))
        (if (i64.eqz (i64.shr_u (global.get $size) (i64.const 32)))
          (then
            (i32.store (global.get $free)
              (i32.wrap_i64 (i64.shr_u (global.get $from) (i64.const 32))))
            (global.set $free (i32.add (global.get $free) (i32.const 4)))
            (global.set $from (i64.shl (global.get $from) (i64.const 32)))
            (global.set $size (i64.shl (global.get $size) (i64.const 32)))))
        (local.set $symbols (i32.add (local.get $symbols) (i32.const 4)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $again))))

  ;; Add to `out` (rows, columns) the product of `a` (rows, inner) and `b` (inner, columns), float32
  ;; in row order; columns are a multiple of four. Zeros of `a` are skipped.
  (func (export "multiply") (param $a i32) (param $b i32) (param $out i32)
    (param $rows i32) (param $inner i32) (param $columns i32)
    (local $left i32) (local $row i32) (local $end i32) (local $from i32) (local $value f32)
    (local $all v128)
    (local.set $columns (i32.shl (local.get $columns) (i32.const 2)))
    (block $done
      (loop $each
        (br_if $done (i32.eqz (local.get $rows)))
        (local.set $row (local.get $b))
        (local.set $left (local.get $inner))
        (loop $sum
          (local.set $value (f32.load (local.get $a)))
          (if (f32.ne (local.get $value) (f32.const 0))
            (then
              (local.set $all (f32x4.splat (local.get $value)))
              (local.set $from (local.get $row))
              (local.set $end (i32.add (local.get $out) (local.get $columns)))
              (loop $four
                (v128.store (local.get $out)
                  (f32x4.add (v128.load (local.get $out))
                    (f32x4.mul (local.get $all) (v128.load (local.get $from)))))
                (local.set $from (i32.add (local.get $from) (i32.const 16)))
                (local.set $out (i32.add (local.get $out) (i32.const 16)))
                (br_if $four (i32.lt_u (local.get $out) (local.get $end))))
              (local.set $out (i32.sub (local.get $out) (local.get $columns)))))
          (local.set $a (i32.add (local.get $a) (i32.const 4)))
          (local.set $row (i32.add (local.get $row) (local.get $columns)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if $sum (local.get $left)))
        (local.set $out (i32.add (local.get $out) (local.get $columns)))
        (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
        (br $each)))))
