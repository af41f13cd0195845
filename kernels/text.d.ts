/** Shaders are static files that import as text: by a transform in the tests, by a loader in the bundles. */
declare module '*.wgsl' {
  const text: string;
  export default text;
}
declare module '*.glsl' {
  const text: string;
  export default text;
}
declare module '*.vert' {
  const text: string;
  export default text;
}
declare module '*.frag' {
  const text: string;
  export default text;
}
