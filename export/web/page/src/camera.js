// The camera: middle squares of its frames, one at a time.

import { Wording } from "./words.js";

const REASONS = {
  NotAllowedError: "The camera was not allowed. Allow it in the browser’s settings for this page.",
  NotFoundError: "No camera was found on this device.",
  NotReadableError: "The camera is in use by another program.",
  OverconstrainedError: "No camera was found on this device.",
};

export class Camera {
  constructor() {
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true; // iPhones would else go full screen
    this.stream = null;
    this.facing = "environment";
  }

  get on() {
    return this.stream !== null;
  }

  /** Opens the camera; Wording where that is not possible. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Wording("Browsers give the camera to https pages and to localhost only.");
    }
    const wanted = { facingMode: { ideal: this.facing }, width: { ideal: 960 }, height: { ideal: 720 } };
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (error) {
      this.stop();
      throw new Wording(REASONS[error.name] ?? `The camera cannot be used (${error.message}).`);
    }
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.stream = null;
  }

  /** From the rear to the front camera of a phone, and back. */
  async turn() {
    this.facing = this.facing === "environment" ? "user" : "environment";
    this.stop();
    await this.start();
  }

  async several() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter((device) => device.kind === "videoinput").length > 1;
  }

  /** The middle square of the newest frame, or null before there is one. */
  async frame() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!this.on || !width || !height) return null;
    const side = Math.min(width, height);
    return createImageBitmap(this.video, (width - side) >> 1, (height - side) >> 1, side, side);
  }
}
