/**
 * The environment variables under which Chromium and Dawn find the unpacked driver and libraries. The dynamic loader reads
 * them when a process starts, so they are set by the process that starts the tests.
 */
import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {cache} from './setup/steps.mjs';

export const unpackedChromium = join(cache, 'chromium');

/**
 * Workgroup memory is zeroed by a loop in the shader, not by the driver: SwiftShader writes the driver's zeros as one store per
 * element, and compiling those took more than half of a kernel's time. A switch of Dawn's, for npm `webgpu` and for Chromium.
 */
const DAWN_ON_SWIFTSHADER = 'disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension';

export function gpuEnvironment() {
  const runtime = join(cache, 'run');
  mkdirSync(runtime, {recursive: true, mode: 0o700});
  const libraries = [unpackedChromium, join(unpackedChromium, 'al2023/lib'), process.env.LD_LIBRARY_PATH];
  return {
    LD_LIBRARY_PATH: libraries.filter(Boolean).join(':'),
    VK_ICD_FILENAMES: join(unpackedChromium, 'vk_swiftshader_icd.json'),
    XDG_RUNTIME_DIR: runtime,
    CHROMIUM_PATH: join(unpackedChromium, 'chromium'),
    DAWN_ON_SWIFTSHADER,
    FONTCONFIG_FILE: fontSettings(runtime),
  };
}

/** The settings that come with Chromium name folders of another machine; without a font, Chromium ends at the first text field. */
function fontSettings(folder) {
  const file = join(folder, 'fonts.conf');
  const folders = `<dir>${join(unpackedChromium, 'fonts')}</dir><cachedir>${join(folder, 'fonts')}</cachedir>`;
  writeFileSync(
    file,
    `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${folders}</fontconfig>\n`,
  );
  return file;
}
