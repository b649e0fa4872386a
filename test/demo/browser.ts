import { existsSync } from "node:fs";
import type { Page } from "playwright-core";

const CANDIDATES = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** A Chromium of this machine, or null; $CHROMIUM names another one. */
export const CHROMIUM: string | null = CANDIDATES.find((path) => path !== undefined && existsSync(path)) ?? null;

/** Pixels that the page is wider than its window; 0 where nothing scrolls sideways. */
export function sidewaysOverflow(page: Page): Promise<number> {
  return page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth));
}

/** Texts whose contrast with their background is below WCAG's 4.5 : 1, as "text: ratio". Disabled fields are exempt. */
export function poorContrast(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true })!;
    const read = new Map<string, number[]>();
    /** [r, g, b, alpha] of any CSS colour, 0..255 */
    const rgba = (color: string): number[] => {
      const known = read.get(color);
      if (known !== undefined) return known;
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      const value = [...canvas.getImageData(0, 0, 1, 1).data];
      read.set(color, value);
      return value;
    };
    const luminance = (color: readonly number[]): number => {
      const [r = 0, g = 0, b = 0] = color.map((v) => {
        const c = v / 255;
        return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const background = (element: Element | null): number[] => {
      for (let at = element; at !== null; at = at.parentElement) {
        const color = rgba(getComputedStyle(at).backgroundColor);
        if (color[3] === 255) return color;
      }
      return [255, 255, 255, 255];
    };
    const poor: string[] = [];
    for (const element of document.querySelectorAll<HTMLElement>("body *")) {
      const text = [...element.childNodes].flatMap((n) => (n.nodeType === Node.TEXT_NODE ? [n.textContent ?? ""] : []));
      const shown = text.join("").trim();
      if (shown === "" || element.matches(":disabled, :disabled *") || !element.checkVisibility()) continue;
      if (element.closest("label")?.querySelector(":disabled")) continue;
      const a = luminance(rgba(getComputedStyle(element).color));
      const b = luminance(background(element));
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < 4.5) poor.push(`${shown.slice(0, 40)}: ${ratio.toFixed(2)}`);
    }
    return poor;
  });
}
