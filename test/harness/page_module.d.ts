/** The file that `openPage` bundles into the page, whatever it exports. */
declare module 'page-module' {
  const functions: Record<string, (...args: unknown[]) => unknown>;
  export = functions;
}
