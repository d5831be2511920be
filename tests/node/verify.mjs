// Verifies a webhook by the Standard Webhooks library: {secrets, headers, body} on stdin, for each secret whether it verified on stdout.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const { secrets, headers, body } = JSON.parse(readFileSync(0, "utf8"));
const verified = secrets.map((secret) => {
  try {
    return new Webhook(secret).verify(body, headers).event;
  } catch (fault) {
    return `${fault.constructor.name}: ${fault.message}`;
  }
});
process.stdout.write(JSON.stringify(verified));
