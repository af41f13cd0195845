/** Shaders as they are published: what the static files say, in fewer characters (see packed.mjs and names.mjs). */
import {readFileSync, readdirSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import {root} from '../setup/steps.mjs';
import {renamed, shortNames} from './names.mjs';
import {packed} from './packed.mjs';

export const SHADER = /\.(wgsl|glsl|vert|frag)$/;

/** The TypeScript that puts shaders together, with the tile sizes that become their constants. */
const COMPOSING = /(web(gpu|gl)|header|tiling)[^.]*(\/.*)?\.ts$/;

const readAll = (folders, pattern) =>
  folders
    .flatMap(folder => readdirSync(join(root, folder), {recursive: true}).map(file => join(root, folder, file)))
    .filter(file => pattern.test(file) && !/assembly|generated/.test(file))
    .map(file => readFileSync(file, 'utf8'));

/** @returns {(source: string) => string} how a shader's text, or several together, is published. */
export function publisher() {
  const shaders = readAll(['kernels'], SHADER).map(packed);
  const names = shortNames(shaders, readAll(['kernels', 'src/backends'], COMPOSING).map(mentions).join('\n'));
  return source => renamed(packed(source), names);
}

const HAS_PROPERTY_NAME = [ts.isPropertyAssignment, ts.isShorthandPropertyAssignment];

/** The text and the properties' names of a TypeScript file: what can reach a shader, other than variables' names. */
function mentions(code) {
  const found = [];
  const visit = node => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node)) found.push(node.getText());
    else if (HAS_PROPERTY_NAME.some(is => is(node))) found.push(node.name.getText());
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile('shader.ts', code, ts.ScriptTarget.Latest, true));
  return found.join('\n');
}
