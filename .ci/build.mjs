export function buildIsFresh() { return true; }
export async function build() {}
