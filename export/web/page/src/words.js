// An error whose message is meant for the person at the page.
export class Wording extends Error {}

// What the loaded page says when a file that belongs to it is not there.
export const HOW_TO_WRITE = "Write the page anew with python -m ssv_tf.export.web.";
