// Spends its time in three functions of its own.
function work(steps) {
  let state = 1;
  for (let i = 0; i < steps; i++) state = Math.imul(state ^ (state >>> 13), 0x5bd1e995) + i | 0;
  return state;
}
function workSeventy(steps) { let sum = 0; for (let i = 0; i < 70; i++) sum ^= work(steps); return sum; }
function workThirty(steps) { let sum = 0; for (let i = 0; i < 30; i++) sum ^= work(steps + 1); return sum; }
let sum = 0;
const end = Date.now() + Number(process.argv[2]);
while (Date.now() < end) sum ^= workSeventy(2000) ^ workThirty(2000);
if (sum === 42) console.log(sum);
