// With the extension, Node runs the generated TypeScript as it is.
export default {
  input: `${process.env.LIKENESS_URL}/schema/openapi.json`,
  output: { path: "likeness", module: { extension: ".ts" } },
};
