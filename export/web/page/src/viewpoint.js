// Signs and words of a viewpoint; ssv_tf/viewpoint.py and ssv_tf/evaluation/drawing.py decide both.

// At viewpoint zero an object's axes equal the camera's: x image right, y up, z to the camera.
export const AXES = [
  { name: "nose", direction: [0, 0, 1] },
  { name: "left", direction: [1, 0, 0] },
  { name: "up", direction: [0, 1, 0] },
];

const DIRECTIONS = [
  "front",
  "front, nose left",
  "nose left",
  "rear, nose left",
  "rear",
  "rear, nose right",
  "nose right",
  "front, nose right",
];
const UPRIGHT_DEG = 0.5; // smaller angles count as level and upright

/** Where the object's axes point in the picture: [x right, y up, z to the camera] of each. */
export function axesInImage(degrees) {
  const camera = rotation(degrees);
  // The transpose of camera-to-object, times the axis.
  return AXES.map(({ direction }) =>
    [0, 1, 2].map((i) => direction.reduce((sum, value, j) => sum + camera[j][i] * value, 0)),
  );
}

/** R = R_az . R_el . R_tilt, camera space to object space. */
function rotation(degrees) {
  const radians = degrees.map((angle) => (angle * Math.PI) / 180);
  const [ca, ce, ct] = radians.map(Math.cos);
  const [sa, se, st] = radians.map(Math.sin);
  return [
    [ca * ct - sa * se * st, -ca * st - sa * se * ct, sa * ce],
    [ce * st, ce * ct, se],
    [-sa * ct - ca * se * st, sa * st - ca * se * ct, ca * ce],
  ];
}

/** What each of the three angles means, in words. */
export function words([azimuth, elevation, tilt]) {
  return [
    DIRECTIONS[((Math.round(azimuth / 45) % 8) + 8) % 8],
    signWord(elevation, "camera above", "camera below", "level"),
    signWord(tilt, "clockwise", "anticlockwise", "upright"),
  ];
}

function signWord(degrees, positive, negative, zero) {
  if (Math.abs(degrees) < UPRIGHT_DEG) return zero;
  return degrees > 0 ? positive : negative;
}

/** "−42°", with the sign of printed text. */
export function inDegrees(angle) {
  const whole = Math.round(angle);
  return `${whole < 0 ? "−" : ""}${Math.abs(whole)}°`;
}
