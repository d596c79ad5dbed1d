// A file of its own: the pages' Content-Security-Policy allows no script within the page.
SwaggerUIBundle({
  url: 'openapi.yaml',
  dom_id: '#swagger-ui',
  deepLinking: true,
  validatorUrl: null, // nothing is sent to another server
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
});
