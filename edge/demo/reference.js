import { find, make } from "./dom.js";
import { schemaFields, typeText } from "./schema-view.js";

/** @import { Schema } from "./schema-view.js" */
/**
 * @typedef {{ description?: string, content?: Record<string, { schema: Schema, description?: string }> }} Body
 * @typedef {{ name: string, in: string, required?: boolean, schema: Schema }} Parameter
 * @typedef {{ summary: string, description?: string, parameters?: Parameter[], requestBody?: Body,
 *   responses: Record<string, Body> }} Operation
 * @typedef {{ paths: Record<string, Record<string, Operation>>, components: { schemas: Record<string, Schema> } }} Document
 */

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  show(await response.json());
} catch (reason) {
  const error = find("#error", HTMLElement);
  error.textContent = `The OpenAPI document could not be read: ${reason instanceof Error ? reason.message : reason}.`;
  error.hidden = false;
}

/** @param {Document} document */
function show({ paths, components: { schemas } }) {
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const id = `${method}${path.replace(/[^a-z0-9]+/gi, "-")}`;
      const link = make("a", "", badge(method), path);
      link.setAttribute("href", `#${id}`);
      find("#contents", HTMLElement).append(make("li", "", link));
      find("#operations", HTMLElement).append(...sectionOf(id, method, path, operation, schemas));
    }
  }
  // The address may name a part that was not there when the page was opened.
  if (location.hash !== "") document.querySelector(`[id="${CSS.escape(location.hash.slice(1))}"]`)?.scrollIntoView();
}

/** @param {string} method */
function badge(method) {
  return make("span", "method", method.toUpperCase());
}

/**
 * @param {string} id
 * @param {string} method
 * @param {string} path
 * @param {Operation} operation
 * @param {Record<string, Schema>} schemas
 */
function sectionOf(id, method, path, { summary, description, parameters = [], requestBody, responses }, schemas) {
  const heading = make("h2", "", badge(method), make("code", "", path));
  heading.id = id;
  /** @type {HTMLElement[]} */
  const parts = [heading, make("p", "", `${summary}.`)];
  if (description !== undefined) parts.push(make("p", "hint", description));
  for (const { name, in: place, schema } of parameters) {
    parts.push(make("p", "", make("code", "", name), ` in the ${place}: ${typeText(schema, schemas)}`));
  }
  if (requestBody !== undefined) parts.push(...bodyParts("Request body", requestBody, schemas, true));
  for (const [status, body] of Object.entries(responses)) {
    const title = status === "default" ? "Errors" : `Answer ${status}`;
    parts.push(...bodyParts(title, body, schemas, false));
  }
  return parts;
}

/**
 * @param {string} title
 * @param {Body} body
 * @param {Record<string, Schema>} schemas
 * @param {boolean} isOpen
 */
function bodyParts(title, { content = {} }, schemas, isOpen) {
  return Object.entries(content).flatMap(([type, { schema, description }]) => {
    const fields = schemaFields(schema, schemas);
    if (fields === null) return [];
    const summary = make("summary", "", title, type === "application/json" ? "" : `, ${type}`);
    const details = make(
      "details",
      "",
      summary,
      ...(description === undefined ? [] : [make("p", "hint", description)]),
      fields,
    );
    details.toggleAttribute("open", isOpen);
    return [details];
  });
}
