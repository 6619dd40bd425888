// What every driver is put through; each file supplies the ways to do it.
import assert from 'node:assert/strict';

export const url = process.env.WEIR_URL;

export async function run(name, steps) {
  for (const [step, work] of Object.entries(steps)) {
    try {
      await work();
      console.log(`ok ${name}: ${step}`);
    } catch (failure) {
      console.log(`not ok ${name}: ${step}: ${failure.stack}`);
      process.exitCode = 1;
    }
  }
}

export { assert };
